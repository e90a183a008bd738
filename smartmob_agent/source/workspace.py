"""The files of one process: its archive, and the app that comes out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import attrs

__all__ = ["Unpacked", "Workspace", "Workspaces"]


@attrs.frozen(kw_only=True)
class Unpacked:
    """An app as files.

    root: the directory that holds the Procfile: the archive's top or its only directory.
    procfile: the bytes of the Procfile, None where there is none.
    """

    root: Path
    procfile: bytes | None


class Workspace(Protocol):
    """The directory of one process."""

    @property
    def archive(self) -> Path:
        """Where the fetcher writes the archive."""
        ...

    async def unpack(self) -> Unpacked:
        """Unpack the archive and remove it; what an earlier try left is removed first.

        Raises `DownloadError` when it is no archive or over a limit, `UnpackError` when it is
        damaged or holds what must not be unpacked, `PassingError` when the disk says no.

        If cancelled: stops soon; what was unpacked so far stays until `remove`.
        """
        ...

    async def remove(self) -> None:
        """Remove the directory with all that is in it, whatever the app made of it.

        Safe to call more than once.  Never raises for what cannot be removed: logs it.
        """
        ...


class Workspaces(Protocol):
    """Makes workspaces."""

    def open(self, slug: str) -> Workspace:
        """Make the workspace of a process; quick, nothing is written before it is used."""
        ...

"""What downloads archives, seen from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs

__all__ = ["Fetched", "Fetcher", "Progress", "ignore_progress"]

Progress = Callable[[int, int | None], None]


@attrs.frozen(kw_only=True)
class Fetched:
    """An archive that was downloaded.

    sha256: 64 hexadecimal digits, of the bytes in the file.
    size_bytes: of the file.
    etag: as the server sent it, with its quotes; None if it sent none, or a weak one.
    """

    sha256: str
    size_bytes: int
    etag: str | None = None


def ignore_progress(_received: int, _total: int | None) -> None:
    """What `Fetcher.fetch` calls if nobody wants to know."""


class Fetcher(Protocol):
    """Downloads archives."""

    async def fetch(
        self,
        url: str,
        destination: Path,
        *,
        request_id: str,
        etag: str | None = None,
        progress: Progress = ignore_progress,
    ) -> Fetched | None:
        """Download `url` into the file `destination`, replacing what is there.

        request_id: sent as `X-Request-Id`, so that the archive's server can tell why.
        etag: of the archive that the caller holds already.  If the server has no other one, the
            result is None, and the file is not touched.
        progress: called with the bytes received so far, and with those of the whole archive or
            None where the server does not say.

        Raises `DownloadError` when trying again cannot mend it, else `TransientDownloadError`.
        No message holds the credentials, query or fragment of a URL.  After a
        `TransientDownloadError` the file stays: a later call with the same URL and destination goes
        on where this one ended, if the server lets it.

        If cancelled: closes the connection; the file stays as it is.
        """
        ...

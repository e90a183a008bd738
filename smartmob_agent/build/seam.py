"""The interface of a builder, which installs what an app needs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import attrs

__all__ = ["BuildDirectories", "Builder"]


@attrs.frozen(kw_only=True)
class BuildDirectories:
    """Where a build works.

    app: the app's files, in which it installs what they need.
    env: for files that become variables of the child.
    cache: for what the next build can use again.
    writable: all directories in which a build may write: these three, its home and one for
        temporary files, or those that hold them.
    """

    app: Path
    env: Path
    cache: Path
    writable: tuple[Path, ...] = ()


class Builder(Protocol):
    """Knows which apps are its own, and which program builds them.

    Its programs run like children: below the guard, with a time limit.
    """

    @property
    def name(self) -> str:
        """A short name, for people."""
        ...

    def wants(self, files: Collection[str]) -> bool | None:
        """Whether it builds an app with these files at its top; None if its program has to look."""
        ...

    def detect_command(self, app: Path) -> tuple[str, ...]:
        """Return program and arguments; its exit code is 0 if it builds the app, 100 if not."""
        ...

    def build_command(self, directories: BuildDirectories) -> tuple[str, ...]:
        """Return program and arguments; its exit code is 0 once all is installed."""
        ...

    async def version(self) -> str:
        """Return a text that differs when it may build something else.

        Raises `BuildError` when the builder cannot be read.
        """
        ...

"""The interface of the store of trees: directories that a build has made, kept under a key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

__all__ = ["HeldTree", "ScratchTree", "ToolCache", "TreeStore"]

Record = Mapping[str, Any]
"""A JSON object about a tree."""


class HeldTree(Protocol):
    """A tree in use: it stays until it is released."""

    @property
    def path(self) -> Path:
        """The directory, for copies only."""
        ...

    @property
    def record(self) -> Record:
        """What it was kept with."""
        ...

    async def release(self) -> None:
        """End the use; to be called once.

        If cancelled: ends it all the same.
        """
        ...

    async def discard(self) -> None:
        """Remove the tree, which is damaged, whoever uses it."""
        ...


class ScratchTree(Protocol):
    """A directory in which a tree is made; what is not kept does not stay.

    Every method raises `TransientError` when the disk is full or cannot be used.
    """

    @property
    def app(self) -> Path:
        """What is to be kept; there is no such directory yet."""
        ...

    @property
    def env(self) -> Path:
        """An empty directory for `read_env`."""
        ...

    @property
    def home(self) -> Path:
        """An empty directory that is thrown away."""
        ...

    @property
    def temporary(self) -> Path:
        """Another one."""
        ...

    async def read_env(self) -> Mapping[str, bytes]:
        """Return name → content of the files in `env`; raises `UnpackError` for what is none."""
        ...

    async def keep(self, key: str, record: Record) -> HeldTree:
        """Keep `app` under a key, in use; one that is kept there already stays instead.

        Others are removed if the cache is too large.  Raises `UnpackError` for what is no tree.
        """
        ...

    async def wait_disk_full(self) -> None:
        """Wait until less of the disk is free than must stay free."""
        ...

    async def remove(self) -> None:
        """Remove the directory, if there is one.

        If cancelled: stops soon, and the rest stays until the agent ends.
        """
        ...


class ToolCache(Protocol):
    """A directory for the downloads of a build tool, used by nobody else meanwhile."""

    @property
    def path(self) -> Path: ...

    async def weigh(self) -> None:
        """Note how much the tool has kept, so that it counts for the size of the cache."""
        ...

    def release(self) -> None:
        """End the use; to be called once."""
        ...


class TreeStore(Protocol):
    """Trees by key.

    Every method raises `TransientError` when the disk is full or cannot be used.
    """

    async def find(self, key: str) -> HeldTree | None:
        """Return the tree under that key, in use from now on; None if there is none."""
        ...

    async def open_scratch(self) -> ScratchTree:
        """Make an empty directory."""
        ...

    async def take_tool_cache(self, name: str) -> ToolCache:
        """Take a directory that lives as long as the cache; there are several under one name, so
        that nobody waits.
        """
        ...

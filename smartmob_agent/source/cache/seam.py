"""The interface of the cache: archives that were downloaded or uploaded once, for all processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import trio

from smartmob_agent.errors import TransientError
from smartmob_agent.source.cache.etags import KnownETag
from smartmob_agent.source.disk.free_space import DISK_FULL
from smartmob_agent.source.trees.seam import TreeStore

__all__ = ["ArchiveCache", "ArchivePart", "HeldArchive", "KnownETag", "make_room_after"]


class HeldArchive(Protocol):
    """An archive in use: its file stays until it is released."""

    @property
    def path(self) -> Path:
        """The file, for reading only."""
        ...

    @property
    def exists(self) -> bool:
        """Whether the file is still there: a person may have removed it."""
        ...

    async def release(self) -> None:
        """End the use; to be called once.

        If cancelled: ends it all the same.
        """
        ...


class ArchivePart(Protocol):
    """A file that becomes an archive once it is complete.

    Every method raises `TransientError` when the disk is full or cannot be used.
    """

    @property
    def path(self) -> Path:
        """Path for a fetcher to write to; there is no file yet."""
        ...

    @property
    def sha256(self) -> str:
        """The digest of the bytes that `write` has written."""
        ...

    async def write(self, data: bytes | bytearray) -> None:
        """Append to the file."""
        ...

    async def check(self) -> None:
        """Raise `SourceError` when the file is no archive; quick, however large the file is."""
        ...

    async def keep(self, sha256: str, *, uploaded: bool = False) -> HeldArchive:
        """Turn the file into an archive, in use; others are removed if the cache is too large.

        uploaded: whether `ArchiveCache.expire` may remove the archive.
        """
        ...

    async def remove(self) -> None:
        """Remove the file, if there is one.

        If cancelled: removes it all the same.
        """
        ...


class ArchiveCache(Protocol):
    """Archives by digest.

    Every method raises `TransientError` when the disk is full or cannot be used.
    """

    @property
    def trees(self) -> TreeStore:
        """What builds have made of archives; it counts for the size of the cache, too."""
        ...

    async def find(self, sha256: str) -> HeldArchive | None:
        """Return the archive with that digest, in use from now on; None if there is none."""
        ...

    def make_part(self) -> ArchivePart:
        """Start an archive; quick, nothing is written yet."""
        ...

    async def make_room(self) -> None:
        """Remove all downloads and trees that are not in use, because the disk is full."""
        ...

    async def recall(self, url: str) -> KnownETag | None:
        """Return the last known ETag of a URL; its archive may be gone."""
        ...

    async def remember(self, url: str, known: KnownETag) -> None:
        """Keep the ETag of a URL."""
        ...

    async def uploads(self) -> Sequence[tuple[str, float]]:
        """The digest of each upload, and the seconds since its last use."""
        ...

    async def expire(self, sha256: str, age: float) -> float:
        """Remove an upload whose last use was `age` seconds ago.

        Returns the seconds until the next try, if it was used since or is in use; 0 if there is
        no such upload any more.
        """
        ...


async def make_room_after(error: TransientError, cache: ArchiveCache) -> None:
    """Remove archives that the cache can do without, if `error` was caused by a full disk."""
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK_FULL:
        with suppress(TransientError):
            await cache.make_room()
    else:
        await trio.lowlevel.checkpoint()

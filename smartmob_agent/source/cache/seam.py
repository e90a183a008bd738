"""The cache of archives: what was downloaded or uploaded once, for every process that wants it."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import trio

from smartmob_agent.errors import TransientError
from smartmob_agent.source.cache.etags import KnownETag

__all__ = ["ArchiveCache", "ArchivePart", "HeldArchive", "KnownETag", "make_room_after"]

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class HeldArchive(Protocol):
    """An archive that stays where it is while it is held."""

    @property
    def path(self) -> Path:
        """Its file, to be read and nothing else."""
        ...

    @property
    def exists(self) -> bool:
        """Whether it is there all the same: a human may have tidied up."""
        ...

    async def release(self) -> None:
        """Hold it no more; to be called once.

        If cancelled: it is released.
        """
        ...


class ArchivePart(Protocol):
    """A file that becomes an archive once it is complete.

    Every method raises `TransientError` when the disk says no.
    """

    @property
    def path(self) -> Path:
        """Where a fetcher may write it; there is no file yet."""
        ...

    @property
    def sha256(self) -> str:
        """The digest of what was written by `write`."""
        ...

    async def write(self, data: bytes | bytearray) -> None:
        """Add to its end."""
        ...

    async def check(self) -> None:
        """Raise `SourceError` when it is no archive; quick, however large it is."""
        ...

    async def keep(self, sha256: str, *, uploaded: bool = False) -> HeldArchive:
        """Make an archive of it, which is held; what then is too much in the cache is removed.

        uploaded: it may be removed by `ArchiveCache.expire`.
        """
        ...

    async def remove(self) -> None:
        """Remove the file, if there is one.

        If cancelled: it is removed.
        """
        ...


class ArchiveCache(Protocol):
    """Archives by digest.  Every method raises `TransientError` when the disk says no."""

    async def find(self, sha256: str) -> HeldArchive | None:
        """Return the archive with that digest, held; None if it is not here."""
        ...

    def make_part(self) -> ArchivePart:
        """Begin an archive; quick, nothing is written yet."""
        ...

    async def make_room(self) -> None:
        """Remove what can be downloaded again and is not held, as the disk is full."""
        ...

    async def recall(self, url: str) -> KnownETag | None:
        """Return what was found at a URL; the archive may be here no more."""
        ...

    async def remember(self, url: str, known: KnownETag) -> None:
        """Note what was found at a URL."""
        ...

    async def uploads(self) -> Sequence[tuple[str, float]]:
        """The digest of each upload, and the seconds for which it was not used."""
        ...

    async def expire(self, sha256: str, age: float) -> float:
        """Remove an upload that was not used for `age` seconds.

        Returns the seconds after which it may be time: it was used meanwhile, or is held; 0 when
        it is not here any more.
        """
        ...


async def make_room_after(error: TransientError, cache: ArchiveCache) -> None:
    """Remove archives that the cache can do without, if `error` was caused by a full disk."""
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK_FULL:
        with suppress(TransientError):
            await cache.make_room()
    else:
        await trio.lowlevel.checkpoint()

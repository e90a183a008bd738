"""What is done about a full disk: archives in the cache make room for what is needed now."""

from __future__ import annotations

import errno
from contextlib import suppress

import trio

from smartmob_agent.errors import PassingError
from smartmob_agent.source.cache import ArchiveCache

__all__ = ["make_room_after"]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


async def make_room_after(error: PassingError, cache: ArchiveCache) -> None:
    """If an error came of a full disk, make room for the next try."""
    await trio.lowlevel.checkpoint()
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
        with suppress(PassingError):
            await cache.make_room()

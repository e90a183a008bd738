"""What is done about a full disk: archives in the cache make room for what is needed now."""

from __future__ import annotations

import errno
from contextlib import suppress

import trio

from smartmob_agent.errors import TransientError
from smartmob_agent.source.cache.seam import ArchiveCache

__all__ = ["TIMEOUT", "make_room_after"]

TIMEOUT = 10.0
"""Seconds for removing archives, or a part of one; the next error goes on with it."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


async def make_room_after(error: TransientError, cache: ArchiveCache) -> None:
    """If an error came of a full disk, make room for the next try."""
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL:
        with suppress(TransientError):
            await cache.make_room()
    else:
        await trio.lowlevel.checkpoint()

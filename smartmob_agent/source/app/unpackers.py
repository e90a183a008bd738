"""Turns to unpack, so that archives that come at once cannot take all there is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import attrs
import trio

from smartmob_agent.source.archive.decompress import MAGIC_BYTES, codec_of

__all__ = ["Unpackers"]

# Unpacking takes a processor; with more at once the event loop waits longer for its turn.
UNPACKERS = 2


@attrs.frozen
class Unpackers:
    """Gives turns: to two archives at once, of which one may be hungry for memory."""

    _all: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(UNPACKERS))
    _hungry: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    @contextlib.asynccontextmanager
    async def turn(self, archive: Path) -> AsyncGenerator[trio.CapacityLimiter]:
        """Wait until an archive may be unpacked, in a thread with the limiter that this yields.

        Raises `OSError` when the archive cannot be read.
        """
        async with contextlib.AsyncExitStack() as stack:
            if _is_hungry(archive):
                await stack.enter_async_context(self._hungry)
            yield self._all


def _is_hungry(archive: Path) -> bool:
    # Some bytes of a file that was just written: not worth a thread.
    with archive.open("rb") as file:
        codec = codec_of(file.read(MAGIC_BYTES))
    return codec is not None and codec.is_hungry

"""Records of several logs in the order of their times."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence

import attrs
import trio

__all__ = ["merge_by_time"]

_PART_BYTES = 64 * 1024

Channel = trio.MemoryReceiveChannel[bytes]


@attrs.define(eq=False)
class _Source:
    """Where records come from, and the next of them.

    number: tells it from others, and comes first where times are the same.
    """

    number: int
    channel: Channel
    ready: deque[tuple[str, bytes]] = attrs.field(factory=deque)
    ended: bool = False
    time: str = ""

    async def fill(self) -> None:
        """Wait for records, or the end."""
        while not self.ready and not self.ended:
            try:
                data = await self.channel.receive()
            except trio.EndOfChannel:
                self.ended = True
            else:
                self.ready += map(self._timed, data.splitlines(keepends=True))

    def _timed(self, line: bytes) -> tuple[str, bytes]:
        # What has no time, such as a gap, stands behind what came before it.
        self.time = json.loads(line).get("time", self.time)
        return self.time, line

    @property
    def key(self) -> tuple[str, int]:
        return self.ready[0][0], self.number


async def merge_by_time(channels: Sequence[Channel], write: Callable[[int, bytes], None]) -> None:
    """Write records in the order of their times, until all channels have ended.

    channels: give whole records, one a line, each in an order that is kept.
    write: takes the index of a channel, and some records of it.

    Times are compared as text: agents write them in UTC, with milliseconds.
    """
    sources = [_Source(number, channel) for number, channel in enumerate(channels)]
    while True:
        await trio.lowlevel.checkpoint()
        for source in sources:
            await source.fill()
        sources = [source for source in sources if source.ready]
        if not sources:
            return
        first = min(sources, key=lambda source: source.key)
        others = [source.key for source in sources if source is not first]
        part = bytearray()
        while first.ready and len(part) < _PART_BYTES and (not others or first.key < min(others)):
            part += first.ready.popleft()[1]
        write(first.number, bytes(part))

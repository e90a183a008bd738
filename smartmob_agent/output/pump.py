"""From the pipes of a child to the console of its process."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from smartmob_agent.output.batch import Stream
from smartmob_agent.output.console import Console
from smartmob_agent.output.lines import LineSplitter

__all__ = ["pump", "pump_all"]

_SMALL_BYTES, _LARGE_BYTES = 16 * 1024, 256 * 1024
"""A read makes room for all that it asks for, so it asks for little.  When that was not enough
it asks for what the pipe of a child holds: the more at once, the fewer turns of the loop."""


async def pump(
    source: trio.abc.ReceiveStream, console: Console, stream: Stream, line_bytes: int
) -> None:
    """Publish all that comes from `source`, as lines, until it ends; close it.

    If cancelled: publishes what there is of the last line.
    """
    splitter = LineSplitter(line_bytes)
    try:
        async with source:
            size = _SMALL_BYTES
            while chunk := await source.receive_some(size):
                console.publish(stream, splitter.feed(bytes(chunk)))
                size = _LARGE_BYTES if len(chunk) >= _SMALL_BYTES else _SMALL_BYTES
    finally:
        console.publish(stream, splitter.finish())


async def pump_all(
    sources: Mapping[Stream, trio.abc.ReceiveStream], console: Console, line_bytes: int
) -> None:
    """Pump from all pipes of a child at once; return when all have ended."""
    async with trio.open_nursery() as nursery:
        for stream, source in sources.items():
            nursery.start_soon(pump, source, console, stream, line_bytes)

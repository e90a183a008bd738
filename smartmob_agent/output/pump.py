"""From the pipes of a child to the console of its process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol

import trio

from smartmob_agent.output.batch import Stream
from smartmob_agent.output.lines import LineSplitter

__all__ = ["Sink", "pump", "pump_all"]


class Sink(Protocol):
    """Takes lines: a console, mostly."""

    def publish(self, stream: Stream, text: bytes) -> None:
        r"""Take lines, each with `\n` at its end; empty text is none."""
        ...


_READ_BYTES = 64 * 1024
"""For more than that the allocator maps memory, and unmaps it again."""
_READS = 4
"""In one turn of the loop, which costs about as much as a read."""


async def pump(
    source: trio.abc.ReceiveStream, console: Sink, stream: Stream, line_bytes: int
) -> None:
    """Publish all that comes from `source`, as lines, until it ends; close it.

    If cancelled: publishes what there is of the last line.
    """
    splitter = LineSplitter(line_bytes)

    def take(chunk: bytes) -> None:
        console.publish(stream, splitter.feed(chunk))

    try:
        async with source:
            if isinstance(source, trio.lowlevel.FdStream):
                await _read_pipe(source.fileno(), take)
            else:
                while chunk := await source.receive_some(_READ_BYTES):
                    take(bytes(chunk))
    finally:
        console.publish(stream, splitter.finish())


async def _read_pipe(fd: int, take: Callable[[bytes], None]) -> None:
    """Read to the end, in as few steps as there can be; others have their turn between them.

    If cancelled: what was read was taken.
    """
    while True:
        await trio.lowlevel.wait_readable(fd)
        for _ in range(_READS):
            try:
                chunk = os.read(fd, _READ_BYTES)
            except BlockingIOError:
                break
            if not chunk:
                return
            take(chunk)
            if len(chunk) < _READ_BYTES:
                break  # There is hardly more.


async def pump_all(
    sources: Mapping[Stream, trio.abc.ReceiveStream], console: Sink, line_bytes: int
) -> None:
    """Pump from all pipes of a child at once; return when all have ended."""
    async with trio.open_nursery() as nursery:
        for stream, source in sources.items():
            nursery.start_soon(pump, source, console, stream, line_bytes)

"""The pump: from a pipe to the console, to the last byte."""

from __future__ import annotations

import fcntl
import itertools
import os
from datetime import UTC, datetime

import pytest
import trio
import trio.testing

from smartmob_agent.output.batch import Batch, Stream
from smartmob_agent.output.console import Console
from smartmob_agent.output.pump import pump

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def lines_of(console: Console) -> list[bytes]:
    return [line for item in console.items if isinstance(item, Batch) for line in item.lines]


async def test_an_unterminated_last_line_is_published_at_the_end() -> None:
    console, source = Console(10_000, lambda: NOON), trio.testing.MemoryReceiveStream()
    source.put_data(b"one\ntwo")
    source.put_eof()
    await pump(source, console, Stream.STDOUT, 64)
    assert lines_of(console) == [b"one", b"two"]


async def test_an_unterminated_line_is_published_when_the_pump_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    console, source = Console(10_000, lambda: NOON), trio.testing.MemoryReceiveStream()
    source.put_data(b"one\ntwo")
    with trio.move_on_after(3):
        await pump(source, console, Stream.STDERR, 64)
    assert trio.current_time() == 3.0
    assert lines_of(console) == [b"one", b"two"]


async def test_the_pump_closes_its_pipe() -> None:
    console, source = Console(10_000, lambda: NOON), trio.testing.MemoryReceiveStream()
    source.put_eof()
    await pump(source, console, Stream.STDOUT, 64)
    with pytest.raises(trio.ClosedResourceError):
        await source.receive_some()


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 400_000])
async def test_a_pipe_is_read_to_its_end(size: int) -> None:
    """Whether a read takes all that there is, just that, or not even in several reads."""
    ours, theirs = os.pipe()
    fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, 1 << 20)
    console = Console(1_000_000, lambda: NOON)
    source = trio.lowlevel.FdStream(ours)
    text = (b"x" * 99 + b"\n") * (size // 100) + b"y" * (size % 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, source, console, Stream.STDOUT, 65536)
        os.write(theirs, text)
        await trio.testing.wait_all_tasks_blocked()
        os.close(theirs)
    assert b"\n".join(lines_of(console)) == text.removesuffix(b"\n")
    assert source.fileno() == -1


async def test_a_child_that_writes_without_pause_leaves_a_turn_to_others() -> None:
    """The pump does not read on for as long as there is something."""
    ours, theirs = os.pipe()
    fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(theirs, b"\n" * 1_000_000)
    console = Console(1_000_000, lambda: NOON)
    async with trio.open_nursery() as nursery:
        source = trio.lowlevel.FdStream(ours)
        nursery.start_soon(pump, source, console, Stream.STDOUT, 65536)
        seen = [0]
        while seen[-1] < 1_000_000:
            await trio.lowlevel.checkpoint()
            seen.append(console.next_line - 1)
        os.close(theirs)
    # Two turns of the pump may come between two of ours: the loop shuffles.
    assert max(later - earlier for earlier, later in itertools.pairwise(seen)) <= 2 * 4 * 65536


async def test_what_a_pipe_held_is_published_when_the_pump_is_cancelled() -> None:
    ours, theirs = os.pipe()
    console = Console(10_000, lambda: NOON)
    async with trio.open_nursery() as nursery:
        source = trio.lowlevel.FdStream(ours)
        nursery.start_soon(pump, source, console, Stream.STDERR, 64)
        os.write(theirs, b"one\ntwo")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    os.close(theirs)
    assert lines_of(console) == [b"one", b"two"]

"""The pump: from a pipe to the console, to the last byte."""

from __future__ import annotations

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

"""The console: bounded, shared, and honest about what is gone."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from smartmob_agent.output.console import (
    Console,
    ConsoleEnd,
    Cursor,
    LinesMissedError,
    Stream,
)


async def read_all(cursor: Cursor) -> list[bytes]:
    lines: list[bytes] = []
    with pytest.raises(trio.EndOfChannel):
        while True:
            lines += (await cursor.receive()).lines
    return lines


async def test_a_reader_gets_what_comes_after_it_and_then_the_end() -> None:
    console = Console(10_000)
    console.publish(Stream.STDOUT, [b"before"])
    cursor = console.subscribe()
    console.publish(Stream.STDOUT, [b"a", b"b"])
    console.publish(Stream.STDERR, [b"c"])
    console.close(ConsoleEnd.PROCESS)
    assert await read_all(cursor) == [b"a", b"b", b"c"]


async def test_lines_are_numbered_over_both_streams() -> None:
    console = Console(10_000)
    cursor = console.subscribe()
    console.publish(Stream.STDOUT, [b"a", b"b"])
    console.publish(Stream.STDERR, [b"c"])
    first, second = await cursor.receive(), await cursor.receive()
    assert (first.first, first.stream, second.first, second.stream) == (
        1,
        Stream.STDOUT,
        3,
        Stream.STDERR,
    )


async def test_a_waiting_reader_wakes_with_a_line(nursery: trio.Nursery) -> None:
    console = Console(10_000)
    cursor = console.subscribe()
    lines: list[bytes] = []

    async def read() -> None:
        lines.extend((await cursor.receive()).lines)

    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    assert lines == []
    console.publish(Stream.STDOUT, [b"now"])
    await trio.testing.wait_all_tasks_blocked()
    assert lines == [b"now"]


async def test_a_cancelled_reader_loses_nothing() -> None:
    console = Console(10_000)
    cursor = console.subscribe()
    console.publish(Stream.STDOUT, [b"kept"])
    with trio.CancelScope() as scope:
        scope.cancel()
        await cursor.receive()
    assert (await cursor.receive()).lines == [b"kept"]


async def test_the_end_is_final_and_the_first_reason_counts() -> None:
    console = Console(10_000)
    console.close(ConsoleEnd.AGENT)
    console.close(ConsoleEnd.PROCESS)
    console.publish(Stream.STDOUT, [b"too late"])
    assert console.end is ConsoleEnd.AGENT
    assert await read_all(console.subscribe()) == []


async def test_no_lines_are_no_batch() -> None:
    console = Console(10_000)
    console.publish(Stream.STDOUT, [])
    assert len(console.batches) == 0


async def test_a_batch_over_the_limit_is_kept_until_the_next() -> None:
    """Else a reader that is not slow at all would miss it."""
    console = Console(100)
    cursor = console.subscribe()
    console.publish(Stream.STDOUT, [b"x" * 1000])
    assert (await cursor.receive()).lines == [b"x" * 1000]


async def test_what_the_console_keeps_is_bounded_also_for_empty_lines() -> None:
    console = Console(10_000)
    for _ in range(10_000):
        console.publish(Stream.STDOUT, [b""])
    assert sum(batch.cost_bytes for batch in console.batches) <= 10_000


@given(
    sizes=st.lists(st.integers(1, 4), max_size=40),
    reads=st.lists(st.integers(0, 3), max_size=40),
)
def test_a_reader_sees_no_gap_or_one_that_is_told_exactly(
    sizes: list[int], reads: list[int]
) -> None:
    """Whatever the pace, what was read and what was missed add up to what was published."""

    async def main() -> None:
        console = Console(3_000)
        cursor = console.subscribe()
        seen: list[int] = []
        number = 0
        for index, size in enumerate(sizes):
            lines = [b"%d" % (number + offset + 1) for offset in range(size)]
            number += size
            console.publish(Stream.STDOUT, lines)
            for _ in range(reads[index] if index < len(reads) else 0):
                if cursor.next_line == console.next_line:
                    break
                try:
                    seen += map(int, (await cursor.receive()).lines)
                except LinesMissedError as exc:
                    oldest = int(console.batches[0].lines[0])
                    assert exc.lines == oldest - len(seen) - 1
                    return
        assert seen == list(range(1, len(seen) + 1))

    trio.run(main)

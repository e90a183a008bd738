"""The console: bounded, shared, and honest about what is gone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from smartmob_agent.output.batch import Batch, Event, Frames, Stream
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.output.cursor import Cursor, LinesMissedError
from smartmob_agent.output.frames import text_frames
from tests.output.test_frames import read_back

OUT, ERR = Stream.STDOUT, Stream.STDERR
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def make_console(max_bytes: int = 100_000) -> Console:
    return Console(max_bytes, lambda: NOON)


def read_now(cursor: Cursor[Batch | Event]) -> list[bytes]:
    """Read the lines that are there."""
    lines: list[bytes] = []
    while (item := cursor.receive_nowait()) is not None:
        lines += item.lines if isinstance(item, Batch) else []
    return lines


def read_records(frames: Frames) -> list[object]:
    return [json.loads(text) for text in read_back(b"".join(frames.data))]


def make_batch(lines: Sequence[bytes], first: int = 1) -> Batch:
    text = b"".join(line + b"\n" for line in lines)
    return Batch(first=first, stream=OUT, time=NOON, text=text)


async def lines_of(cursor: Cursor[Batch | Event]) -> Sequence[bytes]:
    item = await cursor.receive()
    assert isinstance(item, Batch)
    return item.lines


async def test_a_reader_gets_what_comes_after_it_and_then_the_end() -> None:
    console = make_console()
    console.publish(OUT, b"before\n")
    cursor = console.subscribe()
    console.publish(OUT, b"a\nb\n")
    console.publish(ERR, b"c\n")
    console.close(ConsoleEnd.PROCESS)
    assert (await lines_of(cursor), await lines_of(cursor)) == ([b"a", b"b"], [b"c"])
    with pytest.raises(trio.EndOfChannel):
        await cursor.receive()


def test_lines_are_numbered_over_both_streams() -> None:
    console = make_console()
    cursor = console.subscribe()
    console.publish(OUT, b"a\nb\n")
    console.publish(ERR, b"c\n")
    items = [cursor.receive_nowait(), cursor.receive_nowait()]
    assert [(item.first, item.end, item.stream) for item in items if item] == [
        (1, 3, OUT),
        (3, 4, ERR),
    ]


def test_a_batch_gives_records_of_its_lines() -> None:
    console = make_console()
    cursor = console.subscribe()
    console.publish(ERR, "é\n\n".encode())
    item = cursor.receive_nowait()
    assert item is not None
    time = "2026-01-01T12:00:00.000Z"
    assert list(item.records) == [
        {"seq": 1, "time": time, "stream": "stderr", "line": "é"},
        {"seq": 2, "time": time, "stream": "stderr", "line": ""},
    ]
    assert read_records(item.json_frames) == list(item.records)


def test_an_event_stands_between_the_lines() -> None:
    console = make_console()
    cursor = console.subscribe()
    console.publish(OUT, b"a\n")
    console.publish_event("exited", {"pid": 7, "code": 0})
    console.publish(OUT, b"b\n")
    items = [cursor.receive_nowait() for _ in range(3)]
    assert [type(item) for item in items] == [Batch, Event, Batch]
    record = {"event": "exited", "time": "2026-01-01T12:00:00.000Z", "pid": 7, "code": 0}
    assert [list(item.records) for item in items[1:2] if item] == [[record]]
    assert items[1] is not None
    assert read_records(items[1].json_frames) == [record]


async def test_a_waiting_reader_wakes_with_a_line(nursery: trio.Nursery) -> None:
    console = make_console()
    cursor = console.subscribe()
    lines: list[bytes] = []

    async def read() -> None:
        lines.extend(await lines_of(cursor))

    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    assert lines == []
    console.publish(OUT, b"now\n")
    await trio.testing.wait_all_tasks_blocked()
    assert lines == [b"now"]


async def test_a_cancelled_reader_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    console = make_console()
    cursor = console.subscribe()
    with trio.move_on_after(1):
        await cursor.receive()
    assert console.readers == {}
    console.publish(OUT, b"kept\n")
    with trio.CancelScope() as scope:
        scope.cancel()
        await cursor.receive()
    assert await lines_of(cursor) == [b"kept"]


async def test_the_end_is_final_and_the_first_reason_counts(nursery: trio.Nursery) -> None:
    console = make_console()
    ends: list[str] = []

    async def read() -> None:
        try:
            await console.subscribe().receive()
        except trio.EndOfChannel:
            ends.append("end")

    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    console.close(ConsoleEnd.AGENT)
    console.close(ConsoleEnd.PROCESS)
    console.publish(OUT, b"too late\n")
    console.publish_event("started", {})
    await trio.testing.wait_all_tasks_blocked()
    assert (console.end, ends, len(console.items)) == (ConsoleEnd.AGENT, ["end"], 0)


def test_no_text_is_no_batch() -> None:
    console = make_console()
    console.publish(OUT, b"")
    assert len(console.items) == 0


def test_a_batch_over_the_limit_is_kept_until_the_next() -> None:
    """Else a reader that is not slow at all would miss it."""
    console = make_console(100)
    cursor = console.subscribe()
    console.publish(OUT, b"x" * 1000 + b"\n")
    assert read_now(cursor) == [b"x" * 1000]


@pytest.mark.parametrize("text", [b"\n", b"x" * 500 + b"\n", b"\n" * 500])
def test_what_the_console_keeps_is_bounded(text: bytes) -> None:
    console = make_console(50_000)
    for _ in range(1000):
        console.publish(OUT, text)
        console.publish_event("started", {})
    assert 40_000 < sum(item.cost_bytes for item in console.items) <= 50_000


def test_a_reader_that_goes_on_after_a_gap_misses_no_more() -> None:
    console = make_console(5_000)
    cursor = console.subscribe()
    for number in range(100):
        console.publish(OUT, b"%d\n" % number)
    with pytest.raises(LinesMissedError) as caught:
        cursor.receive_nowait()
    assert read_now(cursor) == [b"%d" % number for number in range(caught.value.lines, 100)]


def test_a_reader_of_one_stream_gets_only_that_and_all_events() -> None:
    console = make_console()
    cursor = console.subscribe(stream=ERR)
    console.publish(OUT, b"a\n")
    console.publish(ERR, b"b\n")
    console.publish_event("exited", {})
    console.publish(OUT, b"c\n")
    items = []
    while (item := cursor.receive_nowait()) is not None:
        items.append(item.first)
    assert items == [2, 3]


@pytest.mark.parametrize(
    ("tail", "stream", "lines"),
    [
        (0, None, []),
        (1, None, [b"f"]),
        (2, None, [b"e", b"f"]),
        (4, None, [b"c", b"d", b"e", b"f"]),
        (6, None, [b"a", b"b", b"c", b"d", b"e", b"f"]),
        (99, None, [b"a", b"b", b"c", b"d", b"e", b"f"]),
        (1, OUT, [b"f"]),
        (2, OUT, [b"b", b"f"]),
        (2, ERR, [b"d", b"e"]),
        (9, ERR, [b"c", b"d", b"e"]),
    ],
)
def test_a_tail_is_the_last_lines_joined_with_the_next(
    tail: int, stream: Stream | None, lines: list[bytes]
) -> None:
    console = make_console()
    console.publish(OUT, b"a\nb\n")
    console.publish(ERR, b"c\nd\ne\n")
    console.publish_event("exited", {})
    console.publish(OUT, b"f\n")
    cursor = console.subscribe(tail=tail, stream=stream)
    console.publish(stream or OUT, b"next\n")
    assert read_now(cursor) == [*lines, b"next"]


@pytest.mark.parametrize("after", range(7))
def test_after_resumes_without_gap_or_double(after: int) -> None:
    console = make_console()
    console.publish(OUT, b"1\n2\n")
    console.publish(ERR, b"3\n4\n5\n")
    console.publish(OUT, b"6\n")
    cursor = console.subscribe(after=after)
    console.publish(OUT, b"7\n")
    assert read_now(cursor) == [b"%d" % number for number in range(after + 1, 8)]


def test_after_gives_what_happened_behind_that_line_again() -> None:
    """The client may have been cut off before it was told."""
    console = make_console()
    console.publish(OUT, b"1\n")
    console.publish_event("exited", {})
    cursor = console.subscribe(after=1)
    assert isinstance(cursor.receive_nowait(), Event)


@pytest.mark.parametrize("after", [-1, 2])
def test_after_is_a_line_that_was(after: int) -> None:
    console = make_console()
    console.publish(OUT, b"1\n")
    with pytest.raises(ValueError, match="expected the number of a line up to 1"):
        console.subscribe(after=after)


def test_after_a_line_that_is_gone_tells_the_gap() -> None:
    console = make_console(5_000)
    for number in range(100):
        console.publish(OUT, b"%d\n" % number)
    with pytest.raises(LinesMissedError) as caught:
        console.subscribe(after=10).receive_nowait()
    assert caught.value.lines == console.items[0].first - 11


async def test_a_sink_takes_items_without_waking_the_reader(nursery: trio.Nursery) -> None:
    console = make_console()
    cursor = console.subscribe(stream=OUT)
    taken: list[Batch | Event] = []
    woken: list[object] = []

    def sink(item: Batch | Event) -> bool:
        taken.append(item)
        if len(taken) == 2:
            cursor.put_back(item.first + 1)
        return len(taken) < 2

    async def read() -> None:
        await cursor.wait(sink)
        woken.append(cursor.receive_nowait())

    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    for stream, text in ((OUT, b"a\n"), (ERR, b"not wanted\n")):
        console.publish(stream, text)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == []
    console.publish(OUT, b"taken\nput back\n")
    console.publish(OUT, b"must wait for its turn\n")
    await trio.testing.wait_all_tasks_blocked()
    assert [item.first for item in taken] == [1, 3]
    assert [item.lines for item in woken if isinstance(item, Batch)] == [[b"put back"]]
    assert read_now(cursor) == [b"must wait for its turn"]


@given(
    sizes=st.lists(st.integers(1, 4), max_size=40),
    reads=st.lists(st.integers(0, 3), max_size=40),
    events=st.sets(st.integers(0, 40)),
)
def test_a_reader_sees_no_gap_or_one_that_is_told_exactly(
    sizes: list[int], reads: list[int], events: set[int]
) -> None:
    """Whatever the pace, what was read and what was missed make up what was published."""
    console = make_console(6_000)
    cursor = console.subscribe()
    seen: list[int] = []
    number = 0
    for index, size in enumerate(sizes):
        if index in events:
            console.publish_event("started", {})
        console.publish(OUT, b"".join(b"%d\n" % (number + i + 1) for i in range(size)))
        number += size
        for _ in range(reads[index] if index < len(reads) else 0):
            try:
                item = cursor.receive_nowait()
            except LinesMissedError as exc:
                seen += range(len(seen) + 1, len(seen) + 1 + exc.lines)
                continue
            seen += map(int, item.lines) if isinstance(item, Batch) else []
    assert seen == list(range(1, len(seen) + 1))


def test_much_text_becomes_several_batches_cut_between_lines() -> None:
    console = make_console(1_000_000)
    cursor = console.subscribe()
    text = b"".join(b"%d\n" % number for number in range(50_000)) + b"x" * 200_000 + b"\nend\n"
    console.publish(OUT, text)
    assert b"".join(item.text for item in console.items if isinstance(item, Batch)) == text
    sizes = sorted(len(item.text) for item in console.items if isinstance(item, Batch))
    assert sizes[-2] <= 131072 < sizes[-1] == 200_001
    assert len(read_now(cursor)) == 50_002


@pytest.mark.parametrize("size", [0, 30, 31, 32, 80, 5000])
@pytest.mark.parametrize("short", [0, 1, 300])
def test_lines_of_any_length_are_counted(size: int, short: int) -> None:
    lines = [b"x" * size] * 300 + [b""] * short
    assert make_batch(lines, first=5).end == 5 + len(lines)


def test_a_long_line_may_end_the_text() -> None:
    console = make_console(1_000_000)
    console.publish(OUT, b"begin\n" + b"x" * 200_000 + b"\n")
    assert [item.end - item.first for item in console.items] == [1, 1]


LINES = st.lists(st.binary(max_size=8) | st.integers(0, 40_000).map(bytes), min_size=1, max_size=12)


@given(lines=LINES.map(lambda lines: [line.hex().encode() for line in lines]))
def test_frames_come_in_pieces_that_end_with_a_line(lines: list[bytes]) -> None:
    """None is larger than 16 KiB unless it is one line, and all together are all lines."""
    batch = make_batch(lines, first=7)
    frames, first = batch.frames, 7
    for data, end in zip(frames.data, frames.ends, strict=True):
        assert data == text_frames(lines[first - 7 : end - 7])
        assert len(data) <= 32 * 1024 or end == first + 1
        first = end
    assert first == batch.end == 7 + len(lines)


def test_what_is_left_of_a_batch_has_the_frames_that_were_made() -> None:
    """When a client comes back for the rest of one, nothing is made again."""
    lines = [b"x" * 10_000] * 6
    batch = make_batch(lines)
    whole = batch.frames
    for line in range(1, 7):
        rest = batch.since(line).frames
        assert b"".join(rest.data) == text_frames(lines[line - 1 :])
    end = whole.ends[1]
    assert [*map(id, batch.since(end).frames.data)] == [*map(id, whole.data[2:])]


def test_frames_of_records_come_in_pieces_too() -> None:
    batch = make_batch([b"x" * 6_000] * 7)
    frames = batch.json_frames
    assert (len(frames.data), [*frames.ends]) == (4, [3, 5, 7, 8])
    assert read_records(frames) == list(batch.records)


def test_records_of_very_many_lines_are_not_made_at_once() -> None:
    """100 MiB would come of the empty lines that the console holds."""
    batch = make_batch([b""] * 3000)
    seen: list[object] = []
    while len(seen) < 3000:
        rest = batch.since(len(seen) + 1).json_frames
        seen += read_records(rest)
        assert (rest.ends[-1], sum(map(len, rest.data)) < 200_000) == (len(seen) + 1, True)
    assert seen == list(batch.records)


def test_what_was_put_back_comes_once_more() -> None:
    console = make_console()
    cursor = console.subscribe(stream=OUT)
    console.publish(ERR, b"not wanted\n")
    console.publish(OUT, b"2\n3\n")
    cursor.receive_nowait()
    cursor.put_back(3)
    assert read_now(cursor) == [b"3"]


def test_what_was_put_back_may_be_gone() -> None:
    """Then the gap begins where it was put back."""
    console = make_console(5_000)
    cursor = console.subscribe()
    console.publish(OUT, b"1\n2\n")
    cursor.receive_nowait()
    cursor.put_back(2)
    for _ in range(100):
        console.publish(OUT, b"x\n")
    with pytest.raises(LinesMissedError) as caught:
        cursor.receive_nowait()
    assert caught.value.lines == console.items[0].first - 2

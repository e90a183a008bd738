"""Disk and console are one log, whatever is asked of it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from smartmob_agent.output.batch import Batch, Event, Stream
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.output.cursor import LinesMissedError
from smartmob_agent.output.line_pattern import LinePattern
from smartmob_agent.output.log.last_lines import LastLines
from smartmob_agent.output.log.log_cursor import LogCursor, LogQuery
from tests.output.log.place import NOON, Place, Wall, open_place, read_all, shown

OUT, ERR = Stream.STDOUT, Stream.STDERR


def fill(console: Console, wall: Wall, numbers: Sequence[int]) -> None:
    """A line each second; each tenth on stderr, and an event before each hundredth."""
    for number in numbers:
        if number % 100 == 0:
            console.publish_event(f"event {number}", {})
        console.publish(ERR if number % 10 == 0 else OUT, b"line %d\n" % number)
        wall.advance(1)


def lines(*numbers: int) -> list[object]:
    return [(number, f"line {number}") for number in numbers]


def at(second: int) -> Any:
    """When line `second + 1` comes."""
    return NOON + timedelta(seconds=second)


def without_events(seen: Sequence[object]) -> list[object]:
    return [one for one in seen if not isinstance(one, str)]


QUERIES: dict[str, tuple[LogQuery, Sequence[int]]] = {
    "all": (LogQuery(), range(1, 501)),
    "after on the disk": (LogQuery(after=100), range(101, 501)),
    "after in the console": (LogQuery(after=495), range(496, 501)),
    "after the last": (LogQuery(after=500), []),
    "no tail": (LogQuery(tail=0), []),
    "tail in the console": (LogQuery(tail=7), range(494, 501)),
    "tail on the disk": (LogQuery(tail=470), range(31, 501)),
    "more than all": (LogQuery(tail=10_000), range(1, 501)),
    "stream": (LogQuery(stream=ERR), range(10, 501, 10)),
    "tail of a stream": (LogQuery(stream=ERR, tail=49), range(20, 501, 10)),
    "tail of nothing": (LogQuery(pattern=LinePattern("none"), tail=5), []),
    "pattern": (LogQuery(pattern=LinePattern("9$")), range(9, 501, 10)),
    "pattern by a literal": (LogQuery(pattern=LinePattern("ine 1.9")), range(109, 200, 10)),
    "pattern of a stream": (LogQuery(pattern=LinePattern("50$"), stream=ERR), range(50, 501, 100)),
    "no pattern of a stream": (LogQuery(pattern=LinePattern("55$"), stream=ERR), []),
    "pattern after": (LogQuery(pattern=LinePattern("9$"), after=250), range(259, 501, 10)),
    "tail of a pattern": (LogQuery(pattern=LinePattern("9$"), tail=2), [489, 499]),
    "since": (LogQuery(since=at(99)), range(100, 501)),
    "since, in the console": (LogQuery(since=at(495)), range(496, 501)),
    "since later": (LogQuery(since=at(5000)), []),
    "since for ever": (LogQuery(since=at(-5000)), range(1, 501)),
    "until": (LogQuery(until=at(99)), range(1, 101)),
    "until, in the console": (LogQuery(until=at(495)), range(1, 497)),
    "until before": (LogQuery(until=at(-1)), []),
    "since and until": (LogQuery(since=at(99), until=at(149)), range(100, 151)),
    "until by a pattern": (LogQuery(pattern=LinePattern("9$"), until=at(99)), range(9, 101, 10)),
    "since, and a tail": (LogQuery(since=at(399), tail=300), range(400, 501)),
    "a tail, and since": (LogQuery(since=at(99), tail=300), range(201, 501)),
    "since by a pattern": (LogQuery(pattern=LinePattern("9$"), since=at(299)), range(309, 501, 10)),
}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("has_log", [True, False])
async def test_what_is_asked_for_is_shown(tmp_path: Path, name: str, *, has_log: bool) -> None:
    """Whether it is on the disk or in the console, and where all is in the console."""
    query, expected = QUERIES[name]
    async with open_place(tmp_path) as place:
        if not has_log:
            place.console, place.log = Console(1 << 20, place.wall), None  # type: ignore[assignment]  # none is meant
        fill(place.console, place.wall, range(1, 501))
        seen = await place.read(query)
    assert without_events(seen) == lines(*expected)


async def test_events_stand_where_they_happened(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        fill(place.console, place.wall, range(1, 501))
        seen = await place.read()
    events = [(index, one) for index, one in enumerate(seen) if isinstance(one, str)]
    assert events == [(100 * n - 2 + n, f"event {100 * n}") for n in range(1, 6)]


async def test_there_is_no_event_where_lines_are_looked_for(tmp_path: Path) -> None:
    async with open_place(tmp_path, ring_bytes=1 << 20) as place:
        fill(place.console, place.wall, range(1, 101))
        assert await place.read(LogQuery(pattern=LinePattern("100"))) == lines(100)


async def test_a_line_that_was_not_yet_is_told(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        with pytest.raises(ValueError, match="a line up to 0"):
            await place.read(LogQuery(after=1))


async def start(place: Place, query: LogQuery) -> LogCursor:
    cursor = LogCursor(place.console, place.log, query, trio.CapacityLimiter(1))
    await cursor.start()
    return cursor


async def test_a_follower_goes_on_from_the_disk_to_the_console(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        fill(place.console, place.wall, range(1, 201))
        cursor = await start(place, LogQuery(follow=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_on, place)
            seen = await read_all(cursor)
    assert without_events(seen) == lines(*range(1, 501))


async def write_on(place: Place) -> None:
    """Write more than the console holds, then a little, then the end."""
    fill(place.console, place.wall, range(201, 401))
    await trio.sleep(0.1)
    fill(place.console, place.wall, range(401, 501))
    place.console.close(ConsoleEnd.PROCESS)


async def test_what_a_slow_reader_misses_in_the_console_is_on_the_disk(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        cursor = await start(place, LogQuery(follow=True))
        seen: list[object] = []
        for begin in range(1, 901, 300):
            fill(place.console, place.wall, range(begin, begin + 300))
            seen += shown(await cursor.receive())
            while (item := cursor.receive_nowait()) is not None:
                seen += shown(item)
        place.console.close(ConsoleEnd.PROCESS)
        seen += await read_all(cursor)
    assert without_events(seen) == lines(*range(1, 901))


async def test_what_the_disk_lost_is_told_once(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        place.leaky.leaks = True
        fill(place.console, place.wall, range(1, 101))
        seen = await place.read(LogQuery(after=0))
        first = place.console.items[0].first
        assert without_events(seen) == [("gap", first - 1), *lines(*range(first, 101))]
        cursor = await start(place, LogQuery(after=0, follow=True))
        assert (cursor.gap, cursor.next_number) == (first - 1, 1)
        cursor.pass_gap()
        assert (cursor.gap, cursor.next_number) == (0, first)


async def test_what_is_gone_at_the_end_is_told_too(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        fill(place.console, place.wall, range(1, 101))
        await place.log.flush()
        place.leaky.leaks = True
        place.console.publish(OUT, b"lost\n" * 3)
        console, place.console = place.console, Console(0, place.wall, place.log)
        console.close(ConsoleEnd.PROCESS)
        place.console.close(ConsoleEnd.PROCESS)
        assert without_events(await place.read())[-1] == ("gap", 3)
        assert without_events(await place.read(LogQuery(follow=True)))[-1] == ("gap", 3)
        cursor = await start(place, LogQuery())
        assert cursor.inner_gaps == 3
        assert (await place.read(LogQuery(pattern=LinePattern("7$"))))[-1] == ("gap", 3)


async def test_gaps_within_are_known_before(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        for begin in (1, 101, 201):
            fill(place.console, place.wall, range(begin, begin + 90))
            place.leaky.leaks = True
            fill(place.console, place.wall, range(begin + 90, begin + 100))
            place.leaky.leaks = False
        fill(place.console, place.wall, range(301, 501))
        cursor = await start(place, LogQuery())
        assert (cursor.inner_gaps, cursor.gap) == (30, 0)
        seen = await read_all(cursor)
        assert [one for one in seen if isinstance(one, tuple) and one[0] == "gap"] == [
            ("gap", 10)
        ] * 3
        found = await place.read(LogQuery(pattern=LinePattern("5$")))
        assert found.count(("gap", 10)) == 3
        cursor = await start(place, LogQuery(tail=1))
        assert cursor.inner_gaps == 0
        cursor = await start(place, LogQuery(after=250))
        assert cursor.inner_gaps == 10


async def test_a_gap_is_not_returned_at_once(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        place.console.publish(OUT, b"a\n")
        place.leaky.leaks = True
        fill(place.console, place.wall, range(2, 201))
        cursor = await start(place, LogQuery())
        await cursor.receive()
        assert cursor.receive_nowait() is None
        with pytest.raises(LinesMissedError):
            await cursor.receive()
        while not cursor.is_live:
            await cursor.receive()
        assert cursor.hand_over().next_number == cursor.next_number


async def test_where_the_clock_went_back_times_are_found_by_number(tmp_path: Path) -> None:
    """What comes later counts as later, and shows its own time."""
    async with open_place(tmp_path) as place:
        fill(place.console, place.wall, range(1, 101))
        place.wall.advance(-1000)
        fill(place.console, place.wall, range(101, 201))
        place.wall.advance(2000)
        fill(place.console, place.wall, range(201, 501))
        since = await place.read(LogQuery(since=at(49)))
        until = await place.read(LogQuery(until=at(49)))
    assert without_events(since) == lines(*range(50, 501))
    assert without_events(until) == lines(*range(1, 51))


@pytest.mark.parametrize("query", [LogQuery(), LogQuery(pattern=LinePattern("9$"))])
async def test_a_cancelled_reader_loses_nothing(tmp_path: Path, query: LogQuery) -> None:
    """Cancelled before each item, and while a thread reads."""
    async with open_place(tmp_path) as place:
        fill(place.console, place.wall, range(1, 301))
        expected = await place.read(query)
        cursor = await start(place, query)
        seen: list[object] = []
        cancelled = 0
        with contextlib.suppress(trio.EndOfChannel):
            while True:
                for timeout in (0, 0.00005):
                    with trio.move_on_after(timeout) as scope:
                        seen += shown(await cursor.receive())
                    cancelled += scope.cancelled_caught
                seen += shown(await cursor.receive())
    assert seen == expected
    assert cancelled


def numbers_of(seen: Sequence[object]) -> list[int]:
    """What each line says it is, which is where it stands."""
    numbers = [one[0] for one in seen if isinstance(one, tuple)]
    assert numbers == [int(one[1].split()[1]) for one in seen if isinstance(one, tuple)]
    return numbers


async def test_much_is_read_in_parts(tmp_path: Path) -> None:
    """Lines are counted right across what is read at once."""
    async with open_place(tmp_path) as place:
        rest = b"x" * 150
        for number in range(1, 5001):
            place.console.publish(OUT, b"line %d %s\n" % (number, rest))
            if number % 100 == 0:  # What the disk is too slow for would be lost.
                await place.log.flush()
        long = b"".join(b"line %d %s\n" % (number, rest) for number in range(5001, 7001))
        place.console.publish(OUT, long)
        seen = await place.read()
        assert numbers_of(seen) == [*range(1, 7001)]
        found = await place.read(LogQuery(pattern=LinePattern("00 x")))
        assert numbers_of(found) == [*range(100, 7001, 100)]
        everything = await place.read(LogQuery(pattern=LinePattern("line")))
        assert everything == seen
        for tail in (150, 6801, 6802):  # So many places that some are looked at again.
            assert await place.read(LogQuery(tail=tail, stream=OUT)) == seen[-tail:]


async def test_a_slow_reader_of_a_disk_that_loses_is_told(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        cursor = await start(place, LogQuery(follow=True))
        place.leaky.leaks = True
        fill(place.console, place.wall, range(1, 301))
        with pytest.raises(LinesMissedError):
            await cursor.receive()
        first = place.console.items[0].first
        assert shown(await cursor.receive()) == lines(first)


async def test_a_reader_of_a_stream_hands_that_over(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        cursor = await start(place, LogQuery(follow=True, stream=ERR))
        fill(place.console, place.wall, range(1, 21))
        while not cursor.is_live:
            await cursor.receive()
        assert (await cursor.hand_over().receive()).first == 20


def test_the_last_lines_of_many_are_found_in_bounded_memory() -> None:
    """At the cost of some that are looked at again."""
    last = LastLines(20_000)
    assert (last.number, last.surplus) == (None, 0)
    for number in range(1, 30_001):
        last.add(Batch(first=number, stream=OUT, time=NOON, text=b"x\n"))
        last.add(Event(first=number + 1, record={}))
    assert last.number is not None
    assert last.number + last.surplus == 10_001
    assert len(last._places) <= 4097

from pathlib import Path
from datetime import timedelta
import trio
from smartmob_agent.output.batch import Stream
from smartmob_agent.output.line_pattern import LinePattern
from smartmob_agent.output.log.log_cursor import LogQuery
from tests.output.log.place import open_place, NOON

OUT, ERR = Stream.STDOUT, Stream.STDERR


async def fill(place, n=500, start=1):
    for i in range(start, n + start):
        if i % 100 == 50:
            place.console.publish_event(f"e{i}", {})
        place.console.publish(ERR if i % 10 == 0 else OUT, b"line %d\n" % i)
        place.wall.advance(1)


def lines(seen):
    return [x for x in seen if isinstance(x, tuple)]


async def test_all(tmp_path: Path) -> None:
    async with open_place(tmp_path) as place:
        await fill(place)
        seen = await place.read()
        assert lines(seen) == [(i, f"line {i}") for i in range(1, 501)]
        assert [x for x in seen if isinstance(x, str)] == ["e50", "e150", "e250", "e350", "e450"]
        assert seen[49] == "e50"
        assert lines(await place.read(LogQuery(after=490))) == [
            (i, f"line {i}") for i in range(491, 501)
        ]
        assert lines(await place.read(LogQuery(after=100)))[0] == (101, "line 101")
        assert len(lines(await place.read(LogQuery(tail=7)))) == 7
        assert len(lines(await place.read(LogQuery(tail=470)))) == 470
        assert lines(await place.read(LogQuery(tail=3, stream=ERR))) == [
            (i, f"line {i}") for i in (480, 490, 500)
        ]
        assert lines(await place.read(LogQuery(pattern=LinePattern("9$")))) == [
            (i, f"line {i}") for i in range(9, 501, 10)
        ]
        assert lines(await place.read(LogQuery(pattern=LinePattern("line 1.9")))) == [
            (i, f"line {i}") for i in range(109, 200, 10)
        ]
        assert lines(await place.read(LogQuery(pattern=LinePattern("9$"), tail=2))) == [
            (489, "line 489"),
            (499, "line 499"),
        ]
        s = await place.read(
            LogQuery(since=NOON + timedelta(seconds=100), until=NOON + timedelta(seconds=200))
        )
        assert lines(s) == [(i, f"line {i}") for i in range(101, 202)]
        s = await place.read(LogQuery(since=NOON + timedelta(seconds=495)))
        assert lines(s) == [(i, f"line {i}") for i in range(496, 501)]
    async with open_place(tmp_path) as place:
        assert place.console.next_line == 501
        await fill(place, 300, 501)
        seen = await place.read()
        assert lines(seen) == [(i, f"line {i}") for i in range(1, 801)]
        print(place.log.segments)

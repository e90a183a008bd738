"""Logs over connections that are cut anywhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from smartmob_agent.client.errors import BadAnswerError
from smartmob_agent.client.progress import Progress, RecordProgress, TextProgress

LINES = 9


def text_from(line: int) -> bytes:
    """What an agent with lines 1 to 9 sends from one of them on."""
    return b"".join(b"line %d\n" % number for number in range(line, LINES + 1))


def record(number: int) -> bytes:
    return json.dumps({"seq": number, "line": 'a "seq": 5'}).encode() + b"\n"


def event(name: str, **fields: int) -> bytes:
    return json.dumps({"event": name, **fields}).encode() + b"\n"


def records_from(line: int) -> bytes:
    """The same as records; behind line 3 the process was started again, behind 9 it has ended."""
    items = [(n, record(n)) for n in range(1, LINES + 1)]
    items.insert(3, (3.2, event("exited", pid=1)))  # type: ignore[arg-type]  # in between
    items.insert(4, (3.5, event("started", pid=2)))  # type: ignore[arg-type]  # in between
    items.append((LINES + 1, event("exited", pid=2)))
    return b"".join(item for number, item in items if number > line - 1)


def read_over(progress: Progress, source: object, sizes: list[int], part: int) -> bytes:
    """Read with connections that are cut after so many bytes, the last one not at all."""
    assert callable(source)
    got = b""
    for size in [*sizes, 1 << 20]:
        progress.begin(progress.last + 1, 0)
        data = source(progress.last + 1)[:size]
        for start in range(0, len(data), part):
            got += progress.feed(data[start : start + part])
    return got


sizes = st.lists(st.integers(0, 600), max_size=12)


@given(sizes=sizes, part=st.integers(1, 200))
def test_no_line_is_missing_or_comes_twice(sizes: list[int], part: int) -> None:
    assert read_over(TextProgress(), text_from, sizes, part) == text_from(1)


@given(sizes=sizes, part=st.integers(1, 200))
def test_no_record_is_missing_or_comes_twice(sizes: list[int], part: int) -> None:
    assert read_over(RecordProgress(), records_from, sizes, part) == records_from(1)


def test_text_begins_where_the_agent_says() -> None:
    progress = TextProgress()
    progress.begin(100, 7)
    progress.feed(b"a\nb")
    assert progress.last == 100


def test_lines_that_are_gone_are_asked_for_no_more() -> None:
    """A record says so; a connection that is lost behind it goes on behind the gap."""
    progress = RecordProgress()
    progress.begin(15, 5)  # Lines 10 to 14 are gone.
    assert progress.last == 9
    progress.feed(event("dropped", lines=5) + event("started", pid=3))
    assert progress.last == 14
    progress.feed(record(15))
    progress.feed(record(16) + event("dropped", lines=4))
    assert progress.last == 20


def test_what_happens_alike_twice_is_told_twice() -> None:
    progress = RecordProgress()
    progress.begin(1, 0)
    twice = event("started", pid=3) + record(1) + event("started", pid=3)
    assert progress.feed(twice) == twice


@pytest.mark.parametrize("line", [b"text\n", b"5\n"])
def test_what_is_no_record_is_told(line: bytes) -> None:
    progress = RecordProgress()
    with pytest.raises(BadAnswerError):
        progress.feed(line)

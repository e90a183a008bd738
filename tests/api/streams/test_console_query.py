"""Options of a console are checked before anything begins."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from smartmob_agent.api.streams.attach import ATTACH_OPTIONS
from smartmob_agent.api.streams.console_query import ConsoleQuery, parse_console_query
from smartmob_agent.api.streams.logs import LOG_OPTIONS
from smartmob_agent.errors import BadRequestError
from smartmob_agent.output.batch import Stream
from smartmob_agent.output.console import Console


def parse(query: str) -> ConsoleQuery:
    return parse_console_query(query.encode(), LOG_OPTIONS)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ConsoleQuery(format="text")),
        ("tail=0", ConsoleQuery(format="text", tail=0)),
        ("after=12&format=json", ConsoleQuery(format="json", after=12)),
        ("stream=stderr", ConsoleQuery(format="text", stream=Stream.STDERR)),
        ("follow=1", ConsoleQuery(format="text", follow=True)),
        ("follow=0&format=json", ConsoleQuery(format="json")),
    ],
)
def test_good_options_are_read(query: str, expected: ConsoleQuery) -> None:
    assert parse(query) == expected


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("tail=-1", ["expected a number from 0, found '-1' @ tail"]),
        ("tail=x&after=", ["expected a number from 0, found 'x' @ tail"]),
        ("tail=%D9%A1", ["expected a number from 0, found '\\u0661' @ tail"]),
        ("tail=" + "9" * 30, [f"expected a number from 0, found '{'9' * 30}' @ tail"]),
        ("stream=stdin", ["expected one of stdout, stderr, found 'stdin' @ stream"]),
        ("format=xml", ["expected one of text, json, ndjson, found 'xml' @ format"]),
        ("format=json&format=json", ["expected once @ format"]),
        ("tail=1&after=1", ["expected either tail or after, found both"]),
        (
            "colour=1",
            [
                (
                    "expected one of tail, after, stream, format, since, until, grep, follow, "
                    "found 'colour'"
                )
            ],
        ),
        ("grep=(", ["expected a regular expression, found '(': missing ) at position 1 @ grep"]),
        ("follow=1&until=1h", ["expected either follow or until, found both"]),
        ("follow=1&format=json", ["expected text or ndjson to follow, found json @ format"]),
    ],
)
def test_each_bad_option_is_told(query: str, errors: list[str]) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(query)
    assert caught.value.errors[: len(errors)] == tuple(errors)


def test_an_option_that_is_not_offered_is_unknown() -> None:
    with pytest.raises(BadRequestError):
        parse_console_query(b"follow=1", ATTACH_OPTIONS)


def test_whether_a_query_is_about_lines_that_are_gone() -> None:
    console = Console(1, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    for _ in range(3):
        console.publish(Stream.STDOUT, b"line\n")
    found = [
        parse(text).begins_before(console)
        for text in ("", "tail=1", "tail=2", "after=2", "after=1")
    ]
    assert found == [False, False, True, False, True]

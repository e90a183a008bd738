"""Options in a query, checked strictly."""

from __future__ import annotations

import pytest

from smartmob_agent.api.kinds import NUMBER, SWITCH, QueryOption, one_of, parse_query
from smartmob_agent.errors import BadRequestError

OPTIONS = {
    "count": QueryOption(kind=NUMBER, about=""),
    "colour": QueryOption(kind=one_of("red", "green"), about="", many=True),
    "wait": QueryOption(kind=SWITCH, about=""),
}


def errors_of(query: bytes) -> tuple[str, ...]:
    with pytest.raises(BadRequestError) as caught:
        parse_query(query, OPTIONS)
    return tuple(caught.value.errors)


def test_options_are_values() -> None:
    assert parse_query(b"count=7&wait=1", OPTIONS) == {"count": 7, "wait": True}


def test_an_option_that_may_come_more_than_once_is_a_list() -> None:
    query = b"colour=red&wait=0&colour=green"
    assert parse_query(query, OPTIONS) == {"colour": ["red", "green"], "wait": False}


def test_every_fault_is_told_at_once() -> None:
    assert errors_of(b"count=x&wait=2&wait=1&size=3&colour=blue&colour=red") == (
        "expected a number from 0, found 'x' @ count",
        "expected one of 0, 1, found '2' @ wait",
        "expected once @ wait",
        "expected one of count, colour, wait, found 'size'",
        "expected one of red, green, found 'blue' @ colour",
    )


def test_where_there_is_no_option_none_is_taken() -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_query(b"wait=1", {})
    assert caught.value.errors == ("expected no option, found 'wait'",)

"""Types of options."""

from __future__ import annotations

import math

import click
import pytest

from smartmob_agent.client_cli.options import Duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("0.5", 0.5),
        ("90s", 90.0),
        ("5m", 300.0),
        ("1.5h", 5400.0),
        ("2d", 172_800.0),
        ("inf", math.inf),
        (7.0, 7.0),
    ],
)
def test_a_duration_is_seconds_or_has_a_unit(text: object, seconds: float) -> None:
    assert Duration(0).convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "s", "5x", "5 min", "5M", "nan", "nans"])
def test_what_is_no_duration_is_told_with_examples(text: str) -> None:
    message = f"{text!r} is not a duration, such as 90, 90s, 5m or 1h"
    with pytest.raises(click.BadParameter, match=message):
        Duration(0).convert(text, None, None)


def test_a_duration_is_in_its_range() -> None:
    with pytest.raises(click.BadParameter, match=r"-300\.0 is not in the range"):
        Duration(0).convert("-5m", None, None)

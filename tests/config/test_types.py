"""Sizes and times as people write them, and as they are shown."""

from __future__ import annotations

import pytest

from smartmob_agent.config.setting import settings_of
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.config.types import (
    BYTES,
    RATIO,
    SECONDS,
    one_of,
    show_bytes,
    show_seconds,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("65536", 65536),
        ("1B", 1),
        ("64K", 65536),
        ("64KiB", 65536),
        ("1.5M", 1572864),
        ("4GiB", 4294967296),
        ("2T", 2199023255552),
        ("9007199254740993", 9007199254740993),
        ("9007199254740992.5K", 9223372036854776320),
    ],
)
def test_sizes_take_binary_units(text: str, size: int) -> None:
    assert BYTES.read(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "1e6", "64 KiB", "64KB", "64k", "1.0001K", "GiB", f"{10**400}.5B", "9" * 5000],
)
def test_no_other_sizes_are_taken(text: str) -> None:
    """A kilobyte is 1000 bytes to some, so its sign is refused."""
    with pytest.raises(ValueError, match=r"^expected a number of bytes, or of KiB, .* found "):
        BYTES.read(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5", 1.5), (".5s", 0.5), ("250ms", 0.25), ("5m", 300)],
)
def test_times_take_units(text: str, seconds: float) -> None:
    assert SECONDS.read(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0s", "1w", "1 h", "inf", "nan", "-1s", "1h30m", "1e3", f"{10**400}", f"{10**308}d"],
)
def test_no_other_times_are_taken(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected seconds, or a time such as .* found "):
        SECONDS.read(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", ""])
def test_a_ratio_is_a_number_above_0(text: str) -> None:
    assert RATIO.read("12.5") == 12.5
    with pytest.raises(ValueError, match="expected a number above 0, found"):
        RATIO.read(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1, "1B"), (1000, "1000B"), (1024, "1KiB"), (1536, "1536B"), (1024**3, "1GiB")],
)
def test_a_size_is_shown_in_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert show_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "0.5s"), (90, "90s"), (60, "1m"), (7200, "2h"), (86400, "1d")],
)
def test_a_time_is_shown_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text


def test_what_is_shown_can_be_read() -> None:
    """Each default is the value that its text stands for."""
    for one in settings_of(AgentConfig):
        if one.default not in (None, ()):
            assert one.info.type.read(one.shown_default) == one.default, one.name


def test_embedders_are_held_to_the_same_words() -> None:
    kind = one_of("pid")
    kind.check("pid")
    with pytest.raises(ValueError, match="expected one of pid, found 'total'"):
        kind.check("total")

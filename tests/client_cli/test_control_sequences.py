"""What another terminal gets of what an app wrote for its own."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from smartmob_agent.client_cli.control_sequences import only_colours, without_controls

RED, RESET = "\x1b[31m", "\x1b[0m"
UNWANTED = [
    "\x1b[2J",  # clears
    "\x1b[?1049h",  # another screen
    "\x1b[?25l",  # no cursor
    "\x1b[>4;2m",  # no colour: modifyOtherKeys of xterm
    "\x1b[3 q",
    "\x1b]0;title\x07",
    "\x1b]8;;http://a/\x1b\\",
    "\x1b]52;c;AAAA\x07",
    "\x1bP1$r0m\x1b\\",
    "\x1b(0",  # line drawing in place of letters
    "\x1bc",  # reset
    "\x1b7",
    "\x9b2J",
    "\x9d0;title\x9c",
    "\x0e",
    "\x08\x08",
    "\x07",
    "\x7f",
    "\x85",
    "\x1b",
]


@pytest.mark.parametrize("sequence", UNWANTED)
def test_control_sequences_are_taken_out(sequence: str) -> None:
    assert only_colours(f"a{sequence}\tö") == without_controls(f"a{sequence}\tö") == "a\tö"


def test_colours_stay_and_end_with_their_line() -> None:
    assert only_colours(f"a{RED}b") == f"a{RED}b{RESET}"
    assert only_colours("\x1b[1;38:5:9mb\x1b[K") == f"\x1b[1;38:5:9mb{RESET}"
    assert only_colours("plain") == "plain"
    assert without_controls(f"a{RED}b{RESET}") == "ab"


def test_text_behind_an_unfinished_sequence_is_shown() -> None:
    assert only_colours("a\x1b]0;text") == "a0;text"
    assert only_colours("a\x1b]0;one\x1b[2Jtwo") == "a0;onetwo"
    assert only_colours("10 %\r20 %") == "10 % 20 %"


@given(st.text(st.sampled_from("\x00\x07\x08\r\x1b\x7f\x85\x90\x9b\x9c\x9d[]P;:?0 1m@cä\\")))
def test_nothing_else_comes_through(line: str) -> None:
    left = re.sub(r"\x1b\[[0-9;:]*m", "", only_colours(line))
    assert re.search(r"[\x00-\x1f\x7f-\x9f]", left) is None
    assert re.search(r"[\x00-\x1f\x7f-\x9f]", without_controls(line)) is None
    assert only_colours(line).endswith(RESET) == ("\x1b" in only_colours(line))


@pytest.mark.parametrize("part", ["\x1b]", "\x9d", "\x1b[", "\x1b ", "\x1b]0;x", "\x1b[0;"])
def test_a_long_line_of_beginnings_takes_no_long_time(part: str) -> None:
    """It would hang if that were quadratic."""
    assert len(without_controls(part * 1_000_000)) <= len(part) * 1_000_000

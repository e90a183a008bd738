"""Regular expressions of strangers, and what is looked for in their place."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from smartmob_agent.output.line_pattern import LinePattern, SlowPatternError
from smartmob_agent.output.literals import needed_literals

SLOW = "(a|aa)+$"


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        ("ERROR", [b"ERROR"]),
        ("code=5[0-9]{3}", [b"code=5"]),
        ("a|bc", [b"a", b"bc"]),
        ("a|a", [b"a"]),
        ("(WARN|ERROR) x?", [b"WARN", b"ERROR"]),
        ("(WARN|ERROR)* x", [b" x"]),
        ("x(a|b*)yz", [b"yz"]),
        (r"\d+ms\.", [b"ms."]),
        ("[]x]abc[^]y]", [b"abc"]),
        (r"[\]x]abc", [b"abc"]),
        ("ab{2}cd+", [b"cd"]),
        ("^äb$", ["äb".encode()]),
        ("a(b[)]c)d", [b"a"]),
        (r"a(\)bcd)", [b")bcd"]),
        ("ab{", [b"a"]),
        ("(ab", [b"a"]),
        (".*", []),
        ("a|.*", []),
        ("", []),
        ("(?i)abc", []),
        (r"\x41bc", []),
        ("[[:alpha:]]abc", []),
    ],
)
def test_what_a_match_must_have_is_found(pattern: str, literals: list[bytes]) -> None:
    assert list(needed_literals(pattern)) == literals


def found(pattern: str, text: bytes) -> Sequence[bytes]:
    return [text[begin:end] for begin, end in LinePattern(pattern).find_lines(text, len(text))]


LINES = st.lists(st.text("abcé \t", max_size=6), min_size=1, max_size=40)


@pytest.mark.parametrize(
    "pattern",
    [
        "ab",
        "a|bc",
        "^a",
        "b$",
        "[^b]a",
        "a.c",
        r"\bab",
        "(?i)AB",
        "a*b",
        "é",
        "(ab|c)a",
        "^$",
        "a++b",
    ],
)
@given(lines=LINES)
def test_lines_are_those_in_which_re_finds_it(pattern: str, lines: list[str]) -> None:
    """Though many are looked at at once."""
    text = "".join(f"{line}\n" for line in lines).encode()
    expected = [
        f"{line}\n".encode() for line in lines if re.search(pattern.replace("++", "+"), line)
    ]
    assert found(pattern, text) == expected


def test_a_common_byte_is_no_help() -> None:
    text = b"aaaaaaaa\n" * 1000 + b"aab\n"
    assert found("aab", text) == [b"aab\n"]
    assert found("aaaa", text) == [b"aaaaaaaa\n"] * 1000
    assert found("b", text * 2) == [b"aab\n"] * 2
    assert found("xaa", text) == []
    assert found("aaaaaaaaa", text) == []
    assert found("ba", b"b\nba\n") == [b"ba\n"]


def test_a_pattern_that_takes_too_long_is_told() -> None:
    with pytest.raises(SlowPatternError):
        found(SLOW, b"a" * 60 + b"b\n")


def test_a_line_is_not_slow_because_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes too long for many lines at once is looked for in each."""
    monkeypatch.setattr("smartmob_agent.output.line_pattern._TEXT_TIMEOUT", 1e-9)
    assert found("[ab][cd]", b"xx\nac\nbc\n" * 2000) == [b"ac\n", b"bc\n"] * 2000


def test_all_lines_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smartmob_agent.output.line_pattern._LINES_TIMEOUT", -1.0)
    with pytest.raises(SlowPatternError):
        found("a", b"a\na\n")

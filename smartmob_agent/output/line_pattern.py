"""Regular expressions of strangers, searched for in lines without holding anybody up."""

from __future__ import annotations

import time
from collections.abc import Iterator

import regex

from smartmob_agent.output.literals import needed_literals

__all__ = ["MAX_PATTERN_CHARS", "LinePattern", "SlowPatternError"]

MAX_PATTERN_CHARS = 1000

_LINE_TIMEOUT = 0.05
"""Seconds that a search in one line may take; other threads go on meanwhile."""
_TEXT_TIMEOUT = 1.0
"""Seconds for many lines at once, after which they are looked at one by one."""

_LINES_TIMEOUT = 5.0
"""Seconds for what is searched in one call, all in all."""

_NOT_AT_ONCE = ("(?", "\\", "++", "*+", "?+", "}+", "{", "&")
"""In a pattern: it may mean another thing within many lines than in each of them."""


class SlowPatternError(Exception):
    """A search in one line takes too long to be waited for."""

    def __init__(self) -> None:
        super().__init__("the regular expression takes too long for one line of the output")


class LinePattern:
    """A regular expression, as `re` of Python has them.

    Raises `ValueError`, which says what is wrong with it, when it is none.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATTERN_CHARS:
            raise ValueError(
                f"expected a regular expression of at most {MAX_PATTERN_CHARS} characters, "
                f"found {len(text)}"
            )
        try:
            self._pattern = regex.compile(text)
            self._in_text = regex.compile(text, regex.MULTILINE)
        except (regex.error, RecursionError, OverflowError) as exc:
            raise ValueError(f"expected a regular expression, found {text!a}: {exc}") from exc
        self._literals = needed_literals(text)
        self._is_found_at_once = not any(word in text for word in _NOT_AT_ONCE)

    def is_in(self, line: bytes) -> bool:
        """Whether a line has a match; raises `SlowPatternError` when that cannot be told soon."""
        try:
            found = self._pattern.search(
                line.decode(errors="replace"), timeout=_LINE_TIMEOUT, concurrent=True
            )
        except TimeoutError:
            raise SlowPatternError from None
        return found is not None

    def find_lines(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Return where lines with a match begin and end, their line ends included.

        text: whole lines of valid UTF-8.

        Raises `SlowPatternError`.  For threads: it takes a while.
        """
        start, deadline = 0, time.monotonic() + _LINES_TIMEOUT
        while (found := self._next_candidate(text, start)) >= 0:
            begin = text.rfind(b"\n", start, found) + 1 or start
            start = text.find(b"\n", found) + 1
            if time.monotonic() > deadline:
                raise SlowPatternError
            if self.is_in(text[begin : start - 1]):
                yield begin, start

    def _next_candidate(self, text: bytes, start: int) -> int:
        """Return a place in the next line that may have a match; -1 if there is none."""
        if start >= len(text):
            return -1
        if self._literals:
            places = [text.find(literal, start) for literal in self._literals]
            return min((place for place in places if place >= 0), default=-1)
        if self._is_found_at_once and text.isascii():
            return self._search(text, start)
        return start

    def _search(self, text: bytes, start: int) -> int:
        try:
            found = self._in_text.search(
                text.decode("ascii"), start, timeout=_TEXT_TIMEOUT, concurrent=True
            )
        except TimeoutError:
            return start
        return -1 if found is None else min(found.start(), len(text) - 1)

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
        self._decoded = b"", ""
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

    def find_lines(self, text: bytes, end: int) -> Iterator[tuple[int, int]]:
        """Return where lines with a match begin and end, their line ends included.

        text: up to `end` whole lines of valid UTF-8.

        Raises `SlowPatternError`.  For threads: it takes a while.
        """
        start, deadline = 0, time.monotonic() + _LINES_TIMEOUT
        finders = [_Finder(literal, text) for literal in self._literals]
        while start < end:
            if finders:
                found = min(finder.find(text, start, end) for finder in finders)
            else:
                found = self._search(text, start, end)
            if found >= end:
                return
            begin = text.rfind(b"\n", start, found) + 1 or start
            start = text.find(b"\n", found) + 1
            if self.is_in(text[begin : start - 1]):
                yield begin, start
            if time.monotonic() > deadline:
                raise SlowPatternError

    def _search(self, text: bytes, start: int, end: int) -> int:
        """Return a place in the next line that may have a match; `end` if there is none."""
        if not (self._is_found_at_once and text.isascii()):
            return start
        if self._decoded[0] is not text:
            self._decoded = text, text.decode("ascii")
        try:
            found = self._in_text.search(
                self._decoded[1], start, end, timeout=_TEXT_TIMEOUT, concurrent=True
            )
        except TimeoutError:
            return start
        return end if found is None else min(found.start(), end - 1)


_SAMPLE_BYTES = 16 * 1024
_RARE = 16
"""In a sample: what a byte is looked for that stands for a literal, many times faster."""


class _Finder:
    """Looks for a literal, by that byte of it which is rare in a text, if one is."""

    def __init__(self, literal: bytes, text: bytes) -> None:
        counts = {byte: text.count(byte, 0, _SAMPLE_BYTES) for byte in set(literal)}
        rare = min(counts, key=counts.__getitem__)
        self._literal = literal
        self._offset = literal.index(rare) if counts[rare] <= _RARE else -1
        self._byte = rare.to_bytes()
        self._next = -1

    def find(self, text: bytes, start: int, end: int) -> int:
        """Return where it is, from `start` on; `end` if it is not there."""
        if self._next < start:
            self._next = self._find(text, start, end)
        return self._next

    def _find(self, text: bytes, start: int, end: int) -> int:
        literal, offset = self._literal, self._offset
        if offset < 0:
            found = text.find(literal, start, end)
            return end if found < 0 else found
        at = start + offset
        while (at := text.find(self._byte, at, end)) >= 0:
            if text.startswith(literal, at - offset):
                return at - offset
            at += 1
        return end

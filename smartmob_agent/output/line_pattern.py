"""Regular expressions of strangers, searched for in lines without holding anybody up."""

from __future__ import annotations

import regex

__all__ = ["MAX_PATTERN_CHARS", "LinePattern", "SlowPatternError"]

MAX_PATTERN_CHARS = 1000

_LINE_TIMEOUT = 0.05
"""Seconds that a search in one line may take, for which the event loop stands still."""


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
        except (regex.error, RecursionError, OverflowError) as exc:
            raise ValueError(f"expected a regular expression, found {text!a}: {exc}") from exc

    def is_in(self, line: bytes) -> bool:
        """Whether a line has a match; raises `SlowPatternError` when that cannot be told soon."""
        try:
            found = self._pattern.search(line.decode(errors="replace"), timeout=_LINE_TIMEOUT)
        except TimeoutError:
            raise SlowPatternError from None
        return found is not None

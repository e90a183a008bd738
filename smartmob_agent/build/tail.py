"""The last lines of a build, for its error.  Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

__all__ = ["Tail"]

_LINES = 8
_LINE_CHARACTERS = 300
_SECRET_CHARACTERS = 6
"""Shorter values are numbers and switches, not secrets."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
"""ECMA-48: control sequences, such as colours, and operating system commands."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


class Tail:
    """Keeps the last lines that say something, for people.

    secrets: values that are not shown.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES)
        values = {value for value in secrets if len(value) >= _SECRET_CHARACTERS}
        self._secrets = sorted(values, key=len, reverse=True)

    def add(self, text: bytes) -> None:
        r"""Take lines, each with `\n` at its end."""
        # No more than can be in the end: a build may write megabytes at once.
        for line in text.rsplit(b"\n", 4 * _LINES)[-4 * _LINES :]:
            if shown := self._show(line.decode("utf-8", "replace")):
                self._lines.append(shown)

    def __str__(self) -> str:
        return " | ".join(self._lines)

    def _show(self, line: str) -> str:
        line = _CREDENTIALS.sub(
            "", _CONTROLS.sub("", _ESCAPES.sub("", line.rstrip("\r").rpartition("\r")[2]))
        )
        for secret in self._secrets:
            line = line.replace(secret, "***")
        line = line.strip()
        return line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]}…"

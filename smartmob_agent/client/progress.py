r"""How far a log was read, so that a lost connection leaves no gap and repeats no line.  Pure.

A connection may be cut within a line: an incomplete line is dropped, and comes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from smartmob_agent.client.documents import parse_json
from smartmob_agent.client.errors import BadAnswerError

__all__ = ["Progress", "RecordProgress", "TextProgress"]


class Progress(Protocol):
    """What was read of a log, over all of its connections.

    last: the number of the last line.
    """

    last: int

    def begin(self, first_line: int, missed: int) -> None:
        """A connection begins with the line of this number, behind so many that are gone."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take what came, and return what is whole and new of it."""
        ...


class TextProgress:
    """Bare lines, which are counted."""

    def __init__(self) -> None:
        self.last = 0
        self._rest = b""

    def begin(self, first_line: int, missed: int) -> None:  # noqa: ARG002 -- told by a header
        self.last = first_line - 1
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        whole, self._rest = _split(self._rest, data)
        self.last += whole.count(b"\n")
        return whole


class RecordProgress:
    """One record on each line; only the last ones are looked at.

    What happened to the process behind its last line is told again by the next connection.
    """

    def __init__(self) -> None:
        self.last = 0
        self._rest = b""
        self._behind: list[bytes] = []
        self._again: Sequence[bytes] = ()

    def begin(self, first_line: int, missed: int) -> None:
        self.last = first_line - 1 - missed  # A record is going to tell them.
        self._rest = b""
        self._again = tuple(self._behind)

    def feed(self, data: bytes) -> bytes:
        whole, self._rest = _split(self._rest, data)
        lines = whole.split(b"\n")[:-1]
        if self._again:
            lines = self._without_again(lines)
            whole = b"".join(line + b"\n" for line in lines)
        self._look_at_end(lines)
        return whole

    def _without_again(self, lines: Sequence[bytes]) -> list[bytes]:
        """Leave out what was told behind the last line, up to the next line."""
        for number, line in enumerate(lines):
            if "seq" in _record(line):
                fresh = [event for event in lines[:number] if event not in self._again]
                self._again = ()
                return [*fresh, *lines[number:]]
        return [event for event in lines if event not in self._again]

    def _look_at_end(self, lines: Sequence[bytes]) -> None:
        behind: list[bytes] = []
        gone = 0
        for line in reversed(lines):
            record = _record(line)
            if "seq" in record:
                self.last = int(record["seq"])
                self._behind = []
                break
            if record.get("event") == "dropped":
                gone += int(record["lines"])
            else:
                behind.append(line)
        self._behind += reversed(behind)
        self.last += gone


def _split(rest: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Return whole lines, and what is left."""
    end = data.rfind(b"\n") + 1
    return (rest + data[:end], data[end:]) if end else (b"", rest + data)


def _record(line: bytes) -> Mapping[str, Any]:
    record = parse_json(line)
    if not isinstance(record, dict):
        raise BadAnswerError(f"expected a record of a console, found {line!a:.60}")
    return record

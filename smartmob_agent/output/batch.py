"""What a console holds: lines which came at once, and what happened to the process."""

from __future__ import annotations

import enum
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property

import attrs

from smartmob_agent.output.frames import text_frames

__all__ = ["Batch", "Event", "Record", "Stream", "rfc3339"]

_ITEM_BYTES = 1024
"""What a batch costs in memory besides its text, and what an event costs in all, about."""

Record = Mapping[str, object]
"""A JSON object about one line or event."""


class Stream(enum.StrEnum):
    """Where the child wrote a line to."""

    STDOUT = "stdout"
    STDERR = "stderr"


def rfc3339(time: datetime) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@attrs.frozen(kw_only=True, slots=False)
class Batch:
    r"""Lines which came at once from one stream.

    first: number of the first line; they are numbered from 1 for the life of the process.
    text: valid UTF-8 in which each line ends with `\n`; at least one line.
    """

    first: int
    stream: Stream
    time: datetime
    text: bytes

    @cached_property
    def end(self) -> int:
        """The number of the first line behind it."""
        return self.first + self.text.count(b"\n")

    @property
    def lines(self) -> Sequence[bytes]:
        """The lines, without line ends."""
        return self.text[:-1].split(b"\n")

    @cached_property
    def frames(self) -> bytes:
        """Each line in a WebSocket text frame: made once for all clients."""
        return text_frames(self.lines)

    @cached_property
    def json_frames(self) -> bytes:
        """Each record in a WebSocket text frame: made once for all clients."""
        return text_frames([json.dumps(record).encode() for record in self.records])

    @property
    def records(self) -> Iterator[Record]:
        """Each line with its number, time and stream."""
        time = rfc3339(self.time)
        for seq, line in zip(itertools.count(self.first), self.lines, strict=False):
            yield {"seq": seq, "time": time, "stream": self.stream.value, "line": line.decode()}

    @property
    def cost_bytes(self) -> int:
        """Memory that it takes, about; its frames take as much again while it has clients."""
        return len(self.text) + _ITEM_BYTES

    def since(self, line: int) -> Batch:
        """Return the same without the lines before number `line`, which is one of its own."""
        if line <= self.first:
            return self
        rest = self.lines[line - self.first :]
        return attrs.evolve(self, first=line, text=b"\n".join([*rest, b""]))


@attrs.frozen(kw_only=True, slots=False)
class Event:
    """Something that happened to the process between two lines.

    first: number of the first line behind it.
    record: what happened, with `event` and `time`.
    """

    first: int
    record: Record
    stream: None = attrs.field(default=None, init=False)
    cost_bytes: int = attrs.field(default=_ITEM_BYTES, init=False)

    @property
    def end(self) -> int:
        """The number of the first line behind it."""
        return self.first

    def since(self, _line: int) -> Event:
        """Return the same: it has no line that could be left out."""
        return self

    @cached_property
    def json_frames(self) -> bytes:
        """The record in a WebSocket text frame."""
        return text_frames([json.dumps(self.record).encode()])

    @property
    def records(self) -> Iterator[Record]:
        """The record."""
        yield self.record

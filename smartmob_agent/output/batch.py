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

__all__ = [
    "NOBODY",
    "Batch",
    "Event",
    "Frames",
    "Origin",
    "Record",
    "Stream",
    "cut_lines",
    "rfc3339",
]

_ITEM_BYTES = 1024
"""What a batch costs in memory besides its text, and what an event costs in all, about."""

_PIECE_BYTES = 16 * 1024
"""What a client that is stuck holds of a batch, about, though the ring may have dropped it."""

_SAMPLE_BYTES = 1024
_LONG_LINE_BYTES = 32
"""Lines that are longer are found faster one by one than by a look at each byte."""

_RECORDS = 1024
"""So many are made at once: of the shortest lines a hundred times as much text would come."""

Record = Mapping[str, object]
"""A JSON object about one line or event."""


class Stream(enum.StrEnum):
    """Where the child wrote a line to."""

    STDOUT = "stdout"
    STDERR = "stderr"


@attrs.frozen(kw_only=True)
class Origin:
    """Who has written something.

    pid: of the child; None for what is none, such as a build.
    release: of its app; None for one without releases.
    """

    pid: int | None = None
    release: int | None = None

    @property
    def fields(self) -> dict[str, int]:
        """What a record says of it."""
        named = {"pid": self.pid, "release": self.release}
        return {name: number for name, number in named.items() if number is not None}


NOBODY = Origin()


def rfc3339(time: datetime) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cut_lines(text: bytes, max_bytes: int) -> list[bytes]:
    """Cut text between lines, each of which has an end, into parts of at most `max_bytes`.

    A line that is longer is a part of its own, and so is no text at all.
    """
    if len(text) <= max_bytes:
        return [text]
    parts, start = [], 0
    while len(text) - start > max_bytes:
        end = text.rfind(b"\n", start, start + max_bytes) + 1 or text.find(b"\n", start) + 1
        parts.append(text[start:end])
        start = end
    return [*parts, text[start:]] if start < len(text) else parts


def _count_lines(text: bytes) -> int:
    """Count line ends.  `bytes.count` takes as long as all else that is done to a big batch."""
    if len(text) > _SAMPLE_BYTES:
        sample = text.count(b"\n", 0, _SAMPLE_BYTES)
        if sample * _LONG_LINE_BYTES <= _SAMPLE_BYTES:
            return len(text) - len(text.replace(b"\n", b""))
    return text.count(b"\n")


@attrs.frozen
class Frames:
    """WebSocket frames that are ready to write, in pieces of whole frames.

    data: the pieces.
    ends: the number of the first line behind each piece.
    """

    data: Sequence[bytes]
    ends: Sequence[int]


_NO_FRAMES = Frames((), ())


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
    origin: Origin = NOBODY

    @cached_property
    def end(self) -> int:
        """The number of the first line behind it."""
        return self.first + _count_lines(self.text)

    @property
    def lines(self) -> Sequence[bytes]:
        """The lines, without line ends."""
        return self.text[:-1].split(b"\n")

    @cached_property
    def frames(self) -> Frames:
        """Each line in a text frame: made once for all clients."""
        data, ends, end = [], [], self.first
        for part in cut_lines(self.text, _PIECE_BYTES):
            lines = part[:-1].split(b"\n")
            end += len(lines)
            data.append(text_frames(lines))
            ends.append(end)
        vars(self)["end"] = end  # To count what was split takes a third as long again.
        return Frames(data, ends)

    @cached_property
    def json_frames(self) -> Frames:
        """Each record in a text frame: made once for all clients, but only the first `_RECORDS`."""
        data, ends = [], []
        texts: list[bytes] = []
        room = _PIECE_BYTES
        for number, record in zip(
            range(self.first, self.first + _RECORDS), self.records, strict=False
        ):
            text = json.dumps(record).encode()
            if texts and len(text) > room:
                data.append(text_frames(texts))
                ends.append(number)
                texts, room = [], _PIECE_BYTES
            texts.append(text)
            room -= len(text)
        data.append(text_frames(texts))
        ends.append(min(self.end, self.first + _RECORDS))
        return Frames(data, ends)

    @property
    def records(self) -> Iterator[Record]:
        """Each line with its number, time, stream and origin."""
        same = {"time": rfc3339(self.time), "stream": self.stream.value, **self.origin.fields}
        for seq, line in zip(itertools.count(self.first), self.lines, strict=False):
            yield {"seq": seq, **same, "line": line.decode()}

    @property
    def cost_bytes(self) -> int:
        """Memory that it takes, about; its frames take as much again while it has clients."""
        return len(self.text) + _ITEM_BYTES

    def since(self, line: int) -> Batch:
        """Return the same without the lines before number `line`, which is one of its own."""
        if line <= self.first:
            return self
        rest = attrs.evolve(self, first=line, text=self.text.split(b"\n", line - self.first)[-1])
        made = vars(self).get("frames", _NO_FRAMES)
        if line in made.ends:  # What was cut there is not made again.
            done = made.ends.index(line) + 1
            vars(rest)["frames"] = Frames(made.data[done:], made.ends[done:])
        return rest


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
    frames: Frames = attrs.field(default=_NO_FRAMES, init=False)

    @property
    def end(self) -> int:
        """The number of the first line behind it."""
        return self.first

    def since(self, _line: int) -> Event:
        """Return the same: it has no line that could be left out."""
        return self

    @cached_property
    def json_frames(self) -> Frames:
        """The record in a text frame."""
        return Frames([text_frames([json.dumps(self.record).encode()])], [self.end])

    @property
    def records(self) -> Iterator[Record]:
        """The record."""
        yield self.record

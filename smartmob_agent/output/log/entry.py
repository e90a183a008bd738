"""One line of an index: where lines that came at once are, or what happened between two lines."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime

import attrs

from smartmob_agent.output.batch import NOBODY, Batch, Event, Origin, Record, Stream, rfc3339

__all__ = ["Entry", "entry_of", "format_entry", "parse_entry", "time_of"]

_EVENT = "event"


@attrs.frozen(kw_only=True)
class Entry:
    """Lines or an event, in an index.

    first: number of the first line; of the next one for an event.
    end: number of the first line behind it.
    latest: the latest time up to here, which never goes back as the clock may.
    stream: None for an event.
    offset, size: of its text.
    crc32: of its text.
    origin: who has written it.
    record: of an event.
    """

    first: int
    end: int
    time: datetime
    latest: datetime
    stream: Stream | None
    offset: int
    size: int
    crc32: int = 0
    origin: Origin = NOBODY
    record: Record | None = None

    def item(self, text: bytes) -> Batch | Event:
        """Return what it stands for.

        text: its own.
        """
        if self.stream is None:
            return Event(first=self.first, record=self.record or {})
        return Batch(
            first=self.first,
            stream=self.stream,
            time=self.time,
            text=text,
            origin=self.origin,
        )


def entry_of(item: Batch | Event, offset: int, latest: datetime) -> Entry:
    """Return the entry of what is to be written.

    offset: where its text is going to be.
    latest: of the entry before it.
    """
    time = time_of(item)
    text = item.text if isinstance(item, Batch) else b""
    return Entry(
        first=item.first,
        end=item.end,
        time=time,
        latest=max(time, latest),
        stream=item.stream,
        offset=offset,
        size=len(text),
        crc32=zlib.crc32(text),
        origin=item.origin if isinstance(item, Batch) else NOBODY,
        record=None if isinstance(item, Batch) else item.record,
    )


def time_of(item: Batch | Event) -> datetime:
    """Return when it came."""
    if isinstance(item, Batch):
        return item.time
    return datetime.fromisoformat(str(item.record["time"]))


def format_entry(entry: Entry) -> bytes:
    """Return a line: number, lines, time, stream, offset and size of the text, its CRC-32, and the
    pid and the release of who has written it, if they are known.

    An event has the word `event` in place of a stream, and its record at the end.  Behind the time
    is `-`, or the latest time before it, where the clock has gone back.
    """
    time = rfc3339(entry.time)
    latest = rfc3339(entry.latest)
    kind = _EVENT if entry.stream is None else entry.stream.value
    last = _crc_and_origin(entry) if entry.record is None else json.dumps(entry.record)
    return (
        f"{entry.first} {entry.end - entry.first} {time} {'-' if latest == time else latest} "
        f"{kind} {entry.offset} {entry.size} {last}\n"
    ).encode()


def _crc_and_origin(entry: Entry) -> str:
    numbers = (entry.origin.pid, entry.origin.release)
    return f"{entry.crc32:08x}" + "".join(f" {number or 0}" for number in numbers if any(numbers))


def _parse_origin(numbers: Sequence[str]) -> Origin:
    if not numbers:
        return NOBODY
    pid, release = map(int, numbers)
    return Origin(pid=pid or None, release=release or None)


def parse_entry(line: bytes) -> Entry:
    """Read a line, without its end; raises `ValueError`."""
    first, lines, time, latest, kind, offset, size, last = line.decode("ascii").split(" ", 7)
    at = _parse_time(time)
    number = int(first)
    is_event = kind == _EVENT
    crc32, *origin = ["0"] if is_event else last.split(" ")
    return Entry(
        first=number,
        end=number + int(lines),
        time=at,
        latest=at if latest == "-" else _parse_time(latest),
        stream=None if is_event else Stream(kind),
        offset=int(offset),
        size=int(size),
        crc32=int(crc32, 16),
        origin=_parse_origin(origin),
        record=json.loads(last) if is_event else None,
    )


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)

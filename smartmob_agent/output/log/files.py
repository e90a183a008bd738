"""Reads a log from the disk, some of it at a time, while it is being written; called in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import attrs

from smartmob_agent.output.batch import Batch, Event
from smartmob_agent.output.log.entry import Entry
from smartmob_agent.output.log.process_log import ProcessLog
from smartmob_agent.output.log.segment import IndexReader, Segment, read_at

__all__ = [
    "Place",
    "find_after_time",
    "find_number",
    "find_time",
    "number_at",
    "read_items",
    "segment_from",
]

_READ_BYTES = 256 * 1024
"""Of text that is read at once."""
_READ_ITEMS = 2048


@attrs.frozen
class Place:
    """Where to go on.

    number: of the line that comes next; what is before it is left out.
    segment: the number of the first line of a segment; of the next one if that is gone.
    offset: in its index.
    """

    number: int
    segment: int
    offset: int = 0

    def order(self) -> tuple[int, int]:
        """A key to sort by."""
        return self.segment, self.offset


def segment_from(log: ProcessLog, place: Place) -> tuple[Segment, int] | None:
    """Return the segment at a place and the offset there; None at the end of all."""
    for segment in log.segments:
        if segment.first == place.segment and place.offset < segment.index_size:
            return segment, place.offset
        if segment.first > place.segment:
            return segment, 0
    return None


def find_number(log: ProcessLog, number: int) -> Place:
    """Return where a line is, or what comes after it if it is gone; raises `OSError`."""
    return _find(
        log,
        number,
        lambda segment: segment.end > number,
        lambda entry: entry.end > number or entry.first >= number,
    )


def find_time(log: ProcessLog, time: datetime) -> Place:
    """Return where the first line is that came at a time, or later; raises `OSError`.

    Where the clock has gone back, what came after a later time counts as later.
    """
    return _find(log, 0, lambda segment: segment.latest >= time, lambda entry: entry.latest >= time)


def find_after_time(log: ProcessLog, time: datetime) -> Place:
    """Return where the first line is that came later than that; as `find_time`."""
    return _find(log, 0, lambda segment: segment.latest > time, lambda entry: entry.latest > time)


def number_at(log: ProcessLog, place: Place) -> int | None:
    """Return the number of the line at a place; None at the end of all; raises `OSError`."""
    found = segment_from(log, place)
    if found is None:
        return None
    try:
        entry = next(IndexReader(found[0]).entries(found[1]), None)
    except FileNotFoundError:  # It has just expired.
        entry = None
    return found[0].first if entry is None else entry[1].first


def _find(
    log: ProcessLog,
    number: int,
    is_in: Callable[[Segment], bool],
    is_wanted: Callable[[Entry], bool],
) -> Place:
    segments = log.segments
    for segment in segments:
        if is_in(segment):
            try:
                offset = IndexReader(segment).find(is_wanted)
            except FileNotFoundError:  # It has just expired.
                continue
            return Place(number, segment.first, offset)
    last = segments[-1] if segments else None
    return Place(number, last.first, last.index_size) if last is not None else Place(number, -1)


def read_items(
    log: ProcessLog, place: Place, *, before: int
) -> tuple[Sequence[Batch | Event], Place]:
    """Read some items, and where to go on; none at the end.

    before: without lines from this number on, and what happened behind it.

    What expires meanwhile is left out: the next number tells.  Raises `OSError`.
    """
    while (found := segment_from(log, place)) is not None:
        segment, offset = found
        try:
            items, offset, is_last = _read_segment(segment, place.number, offset, before)
        except FileNotFoundError:
            items, offset, is_last = [], segment.index_size, False
        place = Place(place.number, segment.first, offset)
        if items or is_last:
            return items, place
    return [], place


def _read_segment(
    segment: Segment, number: int, offset: int, before: int
) -> tuple[list[Batch | Event], int, bool]:
    """Return items, where to go on, and whether it is not worth it: `before` was reached."""
    entries: list[Entry] = []
    size, is_last, end = 0, False, segment.index_size
    for at, entry in IndexReader(segment).entries(offset):
        if entry.stream is not None and entry.first >= before:
            end, is_last = at, True
            break
        if entries and (size + entry.size > _READ_BYTES or len(entries) >= _READ_ITEMS):
            end = at
            break
        entries.append(entry)
        size += entry.size
    start = entries[0].offset if entries else 0
    text = read_at(segment.text_path, start, size) if size else b""
    items: list[Batch | Event] = []
    for entry in entries:
        if entry.end < number or (entry.end == number and entry.stream is not None):
            continue
        part = text[entry.offset - start : entry.offset - start + entry.size]
        if len(part) == entry.size:  # Else somebody else has cut the file.
            items.append(entry.item(part).since(number))
    return items, end, is_last

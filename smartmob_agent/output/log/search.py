"""Looks for lines on the disk: whole blocks of bytes at once, of which few lines are looked at."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import attrs

from smartmob_agent.output.batch import Batch, Stream
from smartmob_agent.output.line_pattern import LinePattern
from smartmob_agent.output.log.entry import Entry
from smartmob_agent.output.log.files import Place, segment_from
from smartmob_agent.output.log.process_log import ProcessLog
from smartmob_agent.output.log.segment import IndexReader, Segment, read_at

__all__ = ["Found", "search_segment"]

_BLOCK_BYTES = 256 * 1024
_FOUND_BYTES = 256 * 1024
"""After which what was found is shown."""
_NEAR_ENTRIES = 16


@attrs.frozen(kw_only=True)
class Found:
    """What a search in one segment has found.

    first: number of the first line that was looked at.
    place: where to go on.
    is_done: there was nothing to look at.
    """

    items: Sequence[Batch]
    place: Place
    first: int = 0
    is_done: bool = False


def search_segment(
    log: ProcessLog,
    place: Place,
    pattern: LinePattern,
    *,
    before: int,
    check: Callable[[], None],
) -> Found:
    """Look for lines that match, in one segment at most.

    before: without lines from this number on.
    check: called now and then; it may raise to end the search.

    Raises `SlowPatternError`, `OSError`.
    """
    found = segment_from(log, place)
    if found is None or found[0].first >= before or place.number >= before:
        return Found(items=[], place=place, is_done=True)
    segment, offset = found
    scan = _Scan(segment, place.number, before, check)
    items: list[Batch] = []
    first = max(segment.first, place.number)
    end = Place(segment.end, segment.first, segment.index_size)
    with contextlib.suppress(FileNotFoundError):  # It has just expired.
        for batch in scan.run(pattern, offset):
            items.append(batch)
            if scan.found_bytes >= _FOUND_BYTES:
                end = Place(batch.end, segment.first, scan.offset)
                break
    return Found(items=items, place=end, first=first)


@attrs.define(eq=False)
class _Scan:
    """Of one segment, as it is now.

    offset: in the index, of the entry of the latest line that was found.
    found_bytes: how much was found.
    """

    _segment: Segment
    _number: int
    _before: int
    _check: Callable[[], None]
    offset: int = 0
    found_bytes: int = 0
    _entry: Entry | None = None
    _counted: tuple[int, int] = (-1, 0)

    def run(self, pattern: LinePattern, offset: int) -> Iterator[Batch]:
        index = IndexReader(self._segment)
        first = next(index.entries(offset), None)
        if first is None:
            return
        start, end = first[1].offset, self._segment.size
        while start < end:
            self._check()
            block = read_at(self._segment.text_path, start, min(_BLOCK_BYTES, end - start))
            whole = block.rfind(b"\n") + 1
            if not whole:
                return  # Cut off by somebody else: no line is as long as a block.
            for begin, stop in pattern.find_lines(block, whole):
                batch = self._batch(index, start + begin, block, begin, stop)
                if batch.first >= self._before:
                    return
                if batch.first >= self._number:
                    self.found_bytes += batch.cost_bytes
                    yield batch
            start += whole

    def _batch(self, index: IndexReader, at: int, text: bytes, begin: int, stop: int) -> Batch:
        """Return a line of which its place in the file and in `text` are known."""
        entry = self._find(index, at)
        known, number = self._counted
        if known < entry.offset or known < at - begin:
            # Count from the entry, or from the line that was found last, in its own lines.
            known, number = entry.offset, entry.first
        base = at - begin
        if known >= base:
            number += text.count(b"\n", known - base, begin)
        else:
            number += read_at(self._segment.text_path, known, at - known).count(b"\n")
        self._counted = (at, number)
        stream = entry.stream or Stream.STDOUT
        return Batch(
            first=number,
            stream=stream,
            time=entry.time,
            text=text[begin:stop],
            origin=entry.origin,
        )

    def _find(self, index: IndexReader, at: int) -> Entry:
        """Return the entry of the text at a place."""
        entry = self._entry
        if entry is not None and at < entry.offset + entry.size:
            return entry
        near = self.offset if entry is not None else 0
        for offset, other in itertools.islice(index.entries(near), _NEAR_ENTRIES):
            if at < other.offset + other.size:
                self.offset, self._entry = offset, other
                return other
        self.offset = index.find(lambda one: at < one.offset + one.size)
        self._entry = entry = next(index.entries(self.offset))[1]
        return entry

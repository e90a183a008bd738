"""A part of a log: a file of lines without a gap, and its index beside it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import attrs

from smartmob_agent.output.log.entry import Entry, parse_entry

__all__ = ["FILE_BYTES", "OPEN", "IndexReader", "Segment", "find_segments", "read_at", "recover"]

OPEN = os.O_CLOEXEC | os.O_NOFOLLOW

FILE_BYTES = 4096
"""What a file costs beside what is in it, about."""

_BLOCK_BYTES = 64 * 1024
"""Of an index: so much is parsed in some milliseconds."""
_FIND_BYTES = 4 * 1024
"""Of an index, among whose entries one is looked for one by one."""
_MAX_ENTRY_BYTES = 64 * 1024
"""Of a line of an index, which mostly has a hundred."""

_DIGITS = 20
"""Of a number of 64 bits: names of files in the order of their lines."""


@attrs.define(eq=False, kw_only=True)
class Segment:
    """What is known of a part; the thread that writes it adds to it, and others only look.

    first: number of its first line, which its files are named by.
    end: number of the first line behind it.
    size, index_size: bytes of its text and of its index, each written whole.
    begins, latest: the first and the last of its times, none of which goes back.
    """

    directory: Path
    first: int
    end: int
    size: int = 0
    index_size: int = 0
    begins: datetime
    latest: datetime

    @property
    def text_path(self) -> Path:
        return self.directory / f"{self.first:0{_DIGITS}}.log"

    @property
    def index_path(self) -> Path:
        return self.directory / f"{self.first:0{_DIGITS}}.idx"

    @property
    def cost_bytes(self) -> int:
        """What it takes of the disk, about."""
        return self.size + self.index_size + 2 * FILE_BYTES

    def remove(self) -> None:
        """Remove its files; raises `OSError`."""
        # The index last: without one a part is not found again.
        self.text_path.unlink(missing_ok=True)
        self.index_path.unlink(missing_ok=True)


def read_at(path: Path, offset: int, size: int) -> bytes:
    """Read from a file, as much as there is of `size` bytes; raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | OPEN)
    try:
        parts = []
        while size > 0 and (part := os.pread(fd, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


class IndexReader:
    """Looks up entries of a segment, as far as it is written now."""

    def __init__(self, segment: Segment) -> None:
        self._path = segment.index_path
        self._size = segment.index_size

    def find(self, is_wanted: Callable[[Entry], bool]) -> int:
        """Return where the first entry is that is wanted, and the end of the index if none is.

        is_wanted: true for all entries behind one for which it is true.

        Raises `OSError`.
        """
        low, high = 0, max(self._size - 1, 0) // _FIND_BYTES
        while low < high:
            middle = (low + high + 1) // 2
            start = self._line_start(middle * _FIND_BYTES)
            entry = next(self.entries(start), None)
            if entry is None or is_wanted(entry[1]):
                high = middle - 1
            else:
                low = middle
        for offset, entry_ in self.entries(self._line_start(low * _FIND_BYTES)):
            if is_wanted(entry_):
                return offset
        return self._size

    def entries(self, offset: int) -> Iterator[tuple[int, Entry]]:
        """Go through the entries from one on, each with its own offset; raises `OSError`."""
        rest, size = b"", _FIND_BYTES
        while offset + len(rest) < self._size:
            begin = offset + len(rest)
            block = read_at(self._path, begin, min(size, self._size - begin))
            size = min(2 * size, _BLOCK_BYTES)
            if not block:
                return  # Cut off by somebody else.
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield offset, parse_entry(line)
                offset += len(line) + 1

    def _line_start(self, offset: int) -> int:
        """Return where the next line begins, from an offset on."""
        if offset == 0:
            return 0
        for size in (256, _MAX_ENTRY_BYTES):
            end = read_at(self._path, offset - 1, size).find(b"\n")
            if end >= 0:
                return offset + end
        return self._size


def find_segments(directory: Path) -> Sequence[Segment]:
    """Return the parts of a log, in order, with what their indices say; raises `OSError`.

    What is no part is left alone, and so is a part of whose index nothing can be read.
    """
    firsts = sorted(
        int(path.stem)
        for path in directory.glob("*.idx")
        if len(path.stem) == _DIGITS and path.stem.isdecimal()
    )
    found = (_look_at(directory, first) for first in firsts)
    return tuple(segment for segment in found if segment is not None)


def _look_at(directory: Path, first: int) -> Segment | None:
    now = datetime.fromtimestamp(0).astimezone()
    segment = Segment(directory=directory, first=first, end=first, begins=now, latest=now)
    segment.index_size = segment.index_path.stat().st_size
    segment.size = segment.text_path.stat().st_size if segment.text_path.exists() else 0
    head = _first_entry(segment)
    if head is None:
        return None
    segment.begins = head.latest
    last = _last_entry(segment) or head
    segment.end, segment.latest = last.end, last.latest
    return segment


def _first_entry(segment: Segment) -> Entry | None:
    line, end, _ = read_at(segment.index_path, 0, _MAX_ENTRY_BYTES).partition(b"\n")
    return _parse_or_none(line) if end else None


def _last_entry(segment: Segment) -> Entry | None:
    start = max(segment.index_size - _MAX_ENTRY_BYTES, 0)
    lines = read_at(segment.index_path, start, _MAX_ENTRY_BYTES).split(b"\n")[:-1]
    return _parse_or_none(lines[-1]) if lines else None


def _parse_or_none(line: bytes) -> Entry | None:
    try:
        return parse_entry(line)
    except ValueError:
        return None


def recover(segment: Segment, *, check_text: bool) -> None:
    """Cut off what was begun to be written, and is not whole; raises `OSError`.

    check_text: whether the disk may have lost what the kernel had taken, as in a power cut.
    """
    good = _find_good_end(segment, check_text=check_text)
    for path, size in ((segment.text_path, segment.size), (segment.index_path, good)):
        if path.stat().st_size > size:
            os.truncate(path, size)
    segment.index_size = good


def _find_good_end(segment: Segment, *, check_text: bool) -> int:
    """Return how much of an index is good, and note what it says."""
    index = read_at(segment.index_path, 0, segment.index_size)
    available, segment.size = segment.size, 0
    segment.end, segment.latest = segment.first, segment.begins
    good = 0
    while (end := index.find(b"\n", good)) >= 0:
        entry = _parse_or_none(index[good:end])
        if entry is None or entry.first != segment.end or entry.offset + entry.size > available:
            break
        if check_text and entry.stream is not None:
            text = read_at(segment.text_path, entry.offset, entry.size)
            if zlib.crc32(text) != entry.crc32:
                break
        segment.end, segment.latest = entry.end, entry.latest
        segment.size = entry.offset + entry.size
        good = end + 1
    return good

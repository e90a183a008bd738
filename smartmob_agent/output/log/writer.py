"""Writes what waits to the disk, and removes what is too old or too much; all of it in a thread."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import attrs

from smartmob_agent.output.batch import Batch, Event
from smartmob_agent.output.log.entry import Entry, entry_of, format_entry, time_of
from smartmob_agent.output.log.process_log import Flush, Forget, ProcessLog, Save
from smartmob_agent.output.log.segment import OPEN, Segment

__all__ = ["STATE", "DiskWriter", "LogLimits"]

logger = logging.getLogger(__name__)

STATE = "state.json"

_SEGMENT_BYTES = 8 * 1024 * 1024
_SEGMENTS = 16
"""In the bytes of a process, at least: so much of them is removed at once."""
_GROUP_BYTES = 1024 * 1024
"""That one call writes."""
_MIN_BYTES = 1024 * 1024
"""Of a log: it has room for what comes at once."""

Write = Callable[[int, bytes, int], int]
"""As `os.pwrite`."""


@attrs.frozen(kw_only=True)
class LogLimits:
    """How much is kept.

    process_bytes: for each slug, 1 MiB at least.
    total_bytes: for all together.
    age: since the last line of a segment.
    """

    process_bytes: int
    total_bytes: int
    age: timedelta

    @property
    def segment_bytes(self) -> int:
        return min(_SEGMENT_BYTES, self.log_bytes // _SEGMENTS)

    @property
    def log_bytes(self) -> int:
        return max(self.process_bytes, _MIN_BYTES)


@attrs.define(eq=False, kw_only=True)
class DiskWriter:
    """Writes logs below a directory.

    now: the wall clock.
    write: in place of `os.pwrite`.
    """

    directory: Path
    limits: LogLimits
    now: Callable[[], datetime]
    write: Write = os.pwrite
    _failing: set[str] = attrs.field(factory=set)

    @property
    def is_failing(self) -> bool:
        """Whether something could not be written, and nothing of that log since."""
        return bool(self._failing)

    def work(self, log: ProcessLog) -> None:
        """Write all that waits in a log."""
        group: list[Batch | Event] = []
        size = 0
        while log.pending:
            item = log.pending.popleft()
            if isinstance(item, Batch | Event):
                group.append(item)
                size += item.cost_bytes
                if size < _GROUP_BYTES:
                    continue
            self._write_group(log, group)
            group, size = [], 0
            if isinstance(item, Flush):
                item.report()
            elif isinstance(item, Save):
                self._save(log, item)
            elif isinstance(item, Forget):
                item.forget(log)
        self._write_group(log, group)

    def _write_group(self, log: ProcessLog, group: Sequence[Batch | Event]) -> None:
        """Write some items, or count what is lost of them."""
        cost = sum(item.cost_bytes for item in group)
        log.taken_bytes += cost
        log.queue.taken_bytes += cost
        for run in _without_gaps(group):
            try:
                self._append(log, run)
            except OSError as exc:
                log.failed_lines += run[-1].end - run[0].first
                self._report(log, exc)
            except Exception:  # One log must not be the end of all others.
                log.failed_lines += run[-1].end - run[0].first
                logger.exception("log failed", extra={"slug": log.slug})
            else:
                self._failing.discard(log.slug)

    def _report(self, log: ProcessLog, error: OSError) -> None:
        if log.slug not in self._failing:
            self._failing.add(log.slug)
            extra = {"slug": log.slug, "error": error.strerror or str(error)}
            logger.warning("cannot write the log", extra=extra)

    def _append(self, log: ProcessLog, items: Sequence[Batch | Event]) -> None:
        """Write items without a gap between them; raises `OSError`, and then nothing is written."""
        segment = log.segments[-1] if log.segments else None
        is_fresh = (
            segment is None
            or segment.end != items[0].first
            or segment.size + segment.index_size >= self.limits.segment_bytes
        )
        if segment is None or is_fresh:
            segment = self._begin(log, items[0], segment)
        entries = list(_entries(items, segment))
        text = b"".join(item.text for item in items if isinstance(item, Batch))
        index = b"".join(map(format_entry, entries))
        try:
            self._write_file(segment.text_path, text, segment.size)
            self._write_file(segment.index_path, index, segment.index_size)
        except OSError:
            if is_fresh:
                with contextlib.suppress(OSError):
                    segment.remove()
            raise
        # What readers look at comes last, and in an order in which each is true.
        segment.size += len(text)
        segment.latest, segment.end = entries[-1].latest, entries[-1].end
        segment.index_size += len(index)
        if is_fresh:
            log.segments = (*log.segments, segment)
        log.written_bytes += len(text) + len(index)
        self._bound(log)

    def _begin(self, log: ProcessLog, item: Batch | Event, before: Segment | None) -> Segment:
        directory = self.directory / log.slug
        directory.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        latest = time_of(item)
        if before is not None:  # The clock may have gone back since.
            latest = max(latest, before.latest)
        return Segment(
            directory=directory, first=item.first, end=item.first, begins=latest, latest=latest
        )

    def _write_file(self, path: Path, data: bytes, offset: int) -> None:
        """Write behind what is there, in place of what a failure has left; raises `OSError`."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | OPEN, stat.S_IRUSR | stat.S_IWUSR)
        try:
            if os.fstat(fd).st_size != offset:
                os.ftruncate(fd, offset)
            while data:
                written = self.write(fd, data, offset)
                offset += written
                data = data[written:]
        finally:
            os.close(fd)

    def _save(self, log: ProcessLog, save: Save) -> None:
        path = self.directory / log.slug / STATE
        text = json.dumps({"next": save.next_number, "last_crash": save.last_crash}).encode()
        try:
            path.parent.mkdir(mode=stat.S_IRWXU, exist_ok=True)
            fresh = path.with_suffix(".new")
            self._write_file(fresh, text, 0)
            fresh.replace(path)
            if save.closes is not None and log.segments:
                _sync(log.segments[-1])
        except OSError as exc:
            self._report(log, exc)
        except Exception:  # As above.
            logger.exception("log failed", extra={"slug": log.slug})
        else:
            self._failing.discard(log.slug)
            if save.closes is not None:
                save.closes()

    # What is too much, or too old

    def _bound(self, log: ProcessLog) -> None:
        """Remove the oldest segments of a log until it is within its bytes."""
        cost = log.cost_bytes
        while cost > self.limits.log_bytes and len(log.segments) > 1:
            cost -= log.segments[0].cost_bytes
            self._remove_first(log)

    def _remove_first(self, log: ProcessLog) -> None:
        first, *others = log.segments
        log.segments = tuple(others)
        with contextlib.suppress(OSError):
            first.remove()

    def sweep(self, logs: Iterable[ProcessLog]) -> Sequence[ProcessLog]:
        """Remove what is too old or, in all, too much; return the logs of which nothing is left."""
        logs = list(logs)
        oldest = self.now() - self.limits.age
        for log in logs:
            while log.segments and log.segments[0].latest < oldest:
                self._remove_first(log)
        self._bound_total(logs)
        return [log for log in logs if not log.is_worth_keeping]

    def _bound_total(self, logs: Sequence[ProcessLog]) -> None:
        total = sum(log.cost_bytes for log in logs)
        while total > self.limits.total_bytes:
            # Of those that nobody writes any more first; what is being written is left.
            first = min(
                (log for log in logs if len(log.segments) > log.is_open),
                key=lambda log: (log.is_open, log.segments[0].latest),
                default=None,
            )
            if first is None:
                return
            total -= first.segments[0].cost_bytes
            self._remove_first(first)

    def forget(self, log: ProcessLog) -> None:
        """Remove the directory of a log of which nothing else is left."""
        directory = self.directory / log.slug
        with contextlib.suppress(OSError):
            (directory / STATE).unlink(missing_ok=True)
            directory.rmdir()


def _without_gaps(items: Sequence[Batch | Event]) -> Iterator[Sequence[Batch | Event]]:
    start = 0
    for index in range(1, len(items) + 1):
        if index == len(items) or items[index].first != items[index - 1].end:
            yield items[start:index]
            start = index


def _entries(items: Sequence[Batch | Event], segment: Segment) -> Iterator[Entry]:
    offset, latest = segment.size, segment.latest
    for item in items:
        entry = entry_of(item, offset, latest)
        yield entry
        latest, offset = entry.latest, offset + entry.size


def _sync(segment: Segment) -> None:
    """Wait for the disk, which may lose in a power cut what comes later; it need not answer."""
    for path in (segment.text_path, segment.index_path):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | OPEN)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)

"""The log of one process: what waits for the disk, and what is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from smartmob_agent.output.batch import Batch, Event
from smartmob_agent.output.log.marks import Mark
from smartmob_agent.output.log.segment import Segment

__all__ = ["Flush", "Forget", "LogQueue", "ProcessLog", "Save"]

PENDING_BYTES = 4 * 1024 * 1024
"""That wait for the disk, for each process; further lines are lost until half of it is written."""
ALL_PENDING_BYTES = 64 * 1024 * 1024
"""The same for all processes together."""
_FLUSH_TIMEOUT = 2.0
"""Seconds that a reader waits for a slow disk; then it does with what is there."""

LastCrash = Mapping[str, Any]


@attrs.frozen(eq=False)
class Flush:
    """Tells a reader that what was put before is written, or lost."""

    report: Callable[[], None]


@attrs.frozen
class Save:
    """Keep the number of the next line, and how the process has crashed last.

    closes: the process is gone; called when it is kept.
    """

    next_number: int
    last_crash: LastCrash | None
    closes: Callable[[], None] | None = None


@attrs.frozen
class Forget:
    """Remove what is left of the log, which is none any more."""

    forget: Callable[[ProcessLog], None]


Pending = Batch | Event | Flush | Save | Forget


@attrs.define(eq=False)
class LogQueue:
    """What is common to all logs; the loop adds to it, and one thread takes from it.

    wake: tells the thread that a log has something to write, and whether it is much.
    put_bytes, taken_bytes: all that ever waited, and what of it does not wait any more.  Each has
        one writer, so that no lock is needed.
    """

    wake: Callable[[ProcessLog, bool], None]
    put_bytes: int = 0
    taken_bytes: int = 0

    @property
    def pending_bytes(self) -> int:
        return self.put_bytes - self.taken_bytes


@attrs.define(eq=False, kw_only=True)
class ProcessLog:
    """The log of a slug, over all processes that had it.

    next_number: of the next line that a process writes.
    last_crash: of the latest process; None if it has not crashed.
    segments: what is on the disk, the oldest first; replaced by the thread that writes.
    is_open: a process writes it.
    lost_lines: that the disk was too slow for.
    failed_lines: that the disk did not take; counted by the thread.
    written_bytes: of text and indices; counted by the thread.
    """

    slug: str
    queue: LogQueue
    next_number: int = 1
    last_crash: LastCrash | None = None
    segments: Sequence[Segment] = ()
    is_open: bool = False
    mark: Mark | None = None
    pending: deque[Pending] = attrs.field(factory=deque)
    is_queued: bool = False
    put_bytes: int = 0
    taken_bytes: int = 0
    lost_lines: int = 0
    failed_lines: int = 0
    written_bytes: int = 0
    _is_full: bool = False

    @property
    def pending_bytes(self) -> int:
        return self.put_bytes - self.taken_bytes

    def announce(self, item: Batch) -> None:
        """Note the numbers of lines before any reader is told them."""
        self.next_number = item.end
        if self.mark is not None:
            self.mark.set(item.end)

    def put(self, item: Batch | Event) -> None:
        """Let an item be written, at some time soon.  This never waits.

        It is lost while the disk is far behind; then a reader finds a gap in the numbers.
        """
        if self._has_room():
            self.put_bytes += item.cost_bytes
            self.queue.put_bytes += item.cost_bytes
            self._add(item)
        else:
            self.lost_lines += item.end - item.first

    def _has_room(self) -> bool:
        limit = PENDING_BYTES // 2 if self._is_full else PENDING_BYTES
        room = self.pending_bytes < limit and self.queue.pending_bytes < ALL_PENDING_BYTES
        self._is_full = not room
        return room

    def _add(self, item: Pending) -> None:
        self.pending.append(item)
        self.queue.wake(self, self.pending_bytes > PENDING_BYTES // 8)

    def save(self, *, closes: Callable[[], None] | None = None) -> None:
        """Let the next number and the last crash be kept."""
        self._add(Save(self.next_number, self.last_crash, closes))

    def forget(self, forget: Callable[[ProcessLog], None]) -> None:
        """Let a call be made behind all that waits."""
        self._add(Forget(forget))

    async def flush(self) -> None:
        """Wait until all that was put is written, or lost; 2 s at most.

        If cancelled: stops waiting.
        """
        done, token = trio.Event(), trio.lowlevel.current_trio_token()
        self._add(Flush(lambda: token.run_sync_soon(done.set)))
        # It wakes the thread as much would: a reader is waiting.
        self.queue.wake(self, True)
        with trio.move_on_after(_FLUSH_TIMEOUT):
            await done.wait()

    @property
    def cost_bytes(self) -> int:
        """What it takes of the disk, about."""
        return sum(segment.cost_bytes for segment in self.segments)

    @property
    def is_worth_keeping(self) -> bool:
        return bool(self.is_open or self.segments or self.pending)

"""The logs of an agent: one directory, one thread that writes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from smartmob_agent.errors import StartError
from smartmob_agent.output.log.marks import SHARED_MEMORY, Marks, find_marks
from smartmob_agent.output.log.process_log import LogQueue, ProcessLog
from smartmob_agent.output.log.segment import find_segments, recover
from smartmob_agent.output.log.writer import STATE, DiskWriter, LogLimits, Write

__all__ = ["Logs", "open_logs"]

logger = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 10.0
"""Seconds for what still waits for the disk: a moment, unless it hangs."""
_GATHER_TIME = 0.05
"""Seconds for which little output is gathered, so that each line does not cost calls of its own."""
_SWEEP_INTERVAL = 60.0
"""Seconds between looks at what is too old."""
_POWER_CUT_LINES = 1_000_000
"""That may have been told to readers and lost in a power cut: their numbers are not given again."""

_IN_USE = "in-use"
"""A file that is there while an agent runs, or has not ended well."""


class _Waker:
    """Wakes the thread, from the loop: soon, or at once when much waits."""

    def __init__(self) -> None:
        self.queued = deque[ProcessLog]()
        self.is_closing = False
        self._some, self._much = threading.Event(), threading.Event()

    def wake(self, log: ProcessLog, much: bool) -> None:
        if not log.is_queued:
            log.is_queued = True
            self.queued.append(log)
        if not self._some.is_set():
            self._some.set()
        if much and not self._much.is_set():
            self._much.set()

    def close(self) -> None:
        self.is_closing = True
        self._some.set()
        self._much.set()

    def wait(self) -> None:
        """Wait until something is to be written; called in the thread."""
        if self._some.wait(_SWEEP_INTERVAL):  # pragma: no branch  -- it is a minute
            self._much.wait(_GATHER_TIME)
        self._much.clear()
        if not self.is_closing:
            self._some.clear()

    def take(self) -> Iterator[ProcessLog]:
        while self.queued:
            log = self.queued.popleft()
            log.is_queued = False  # Before its items are taken: what comes later queues it again.
            yield log


class Logs(Mapping[str, ProcessLog]):
    """All logs, by slug: of processes that live, and of those whose lines have not expired."""

    def __init__(self, writer: DiskWriter, marks: Marks, found: Mapping[str, ProcessLog]) -> None:
        self._logs = dict(found)
        self._writer, self._marks = writer, marks
        self._waker = _Waker()
        self._token = trio.lowlevel.current_trio_token()
        self.queue = LogQueue(self._waker.wake)
        for log in self._logs.values():
            log.queue = self.queue
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._lost_lines = self._written_bytes = 0

    def __getitem__(self, slug: str) -> ProcessLog:
        return self._logs[slug]

    def __iter__(self) -> Iterator[str]:
        return iter(self._logs)

    def __len__(self) -> int:
        return len(self._logs)

    @property
    def lost_lines(self) -> int:
        """That the disk did not take, or was too slow for."""
        logs = self._logs.values()
        return self._lost_lines + sum(log.lost_lines + log.failed_lines for log in logs)

    @property
    def written_bytes(self) -> int:
        return self._written_bytes + sum(log.written_bytes for log in self._logs.values())

    @property
    def kept_bytes(self) -> int:
        return sum(log.cost_bytes for log in self._logs.values())

    def open(self, slug: str) -> ProcessLog:
        """Return the log of a process that begins; it goes on behind what others have left."""
        log = self._logs.get(slug)
        if log is None:
            log = self._logs[slug] = ProcessLog(slug=slug, queue=self.queue)
        log.is_open = True
        if log.mark is None:
            log.mark = self._marks.take(slug, log.next_number)
        return log

    def close(self, log: ProcessLog) -> None:
        """The process is gone; its lines stay until they expire."""
        log.is_open = False
        log.save(closes=partial(self._in_loop, partial(self._give_back, log)))

    def _give_back(self, log: ProcessLog) -> None:
        """The next number is kept: the mark has served, unless there is a process again."""
        if not log.is_open and log.mark is not None:
            self._marks.give_back(log.mark)
            log.mark = None

    def start(self) -> None:
        self._thread.start()

    async def end(self) -> None:
        """Write what waits, and end the thread.

        If cancelled: a thread that hangs is left to itself.
        """
        for log in self._logs.values():
            if log.is_open or log.mark is not None:
                self.close(log)
        self._waker.close()
        await trio.to_thread.run_sync(self._finish, abandon_on_cancel=True)

    def _finish(self) -> None:
        self._thread.join()
        if self._writer.is_failing:
            return  # The marks are all that tells the numbers.
        with contextlib.suppress(OSError):
            (self._writer.directory / _IN_USE).unlink(missing_ok=True)
            self._marks.remove()

    # In the thread

    def _run(self) -> None:
        swept = self._writer.now().timestamp() - _SWEEP_INTERVAL
        while True:
            self._waker.wait()
            closing = self._waker.is_closing
            for log in self._waker.take():
                self._writer.work(log)
            if closing:
                return
            now = self._writer.now().timestamp()
            if abs(now - swept) >= _SWEEP_INTERVAL:
                swept = now
                for log in self._writer.sweep(tuple(self._logs.values())):
                    self._in_loop(partial(self._expire, log))

    def _in_loop(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(call)

    # In the loop again

    def _expire(self, log: ProcessLog) -> None:
        if not log.is_worth_keeping and self._logs.get(log.slug) is log:
            self._lost_lines += log.lost_lines + log.failed_lines
            self._written_bytes += log.written_bytes
            del self._logs[log.slug]
            self._give_back(log)
            log.forget(self._writer.forget)


@contextlib.asynccontextmanager
async def open_logs(
    directory: Path,
    limits: LogLimits,
    *,
    shared: Path = SHARED_MEMORY,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    write: Write = os.pwrite,
) -> AsyncGenerator[Logs]:
    """Open the logs in a directory, which is made if it is missing, for this agent alone.

    At the end what waits is written, for up to 10 seconds.

    shared: where files are memory, which outlives the agent and not the machine.
    now: the wall clock, with a time zone.
    write: in place of `os.pwrite`.

    Raises `StartError` when they cannot be had.

    If cancelled while it opens: the reading goes on to its end, at most.
    """
    writer = DiskWriter(directory=directory, limits=limits, now=now, write=write)
    found = await trio.to_thread.run_sync(partial(_read, directory, shared))
    logs = Logs(writer, found.marks, found.logs)
    logs.start()
    try:
        yield logs
    finally:
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True) as scope:
            await logs.end()
        if scope.cancelled_caught:
            logger.error("the disk of the logs hangs: their last lines may be lost")


@attrs.frozen
class _Found:
    marks: Marks
    logs: Mapping[str, ProcessLog]


def _read(directory: Path, shared: Path) -> _Found:
    try:
        directory.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        marks = Marks(find_marks(shared, directory))
        in_use = directory / _IN_USE
        was_in_use = in_use.exists()
        was_cut = was_in_use and not marks.were_left
        # Else they are of another directory, which had the number of this one before.
        found = marks.found if was_in_use else {}
        in_use.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
        queue = LogQueue(lambda _log, _much: None)
        logs = {
            path.name: _read_log(path, found.get(path.name), queue, was_cut=was_cut)
            for path in sorted(directory.iterdir())
            if path.is_dir()
        }
        for slug in found.keys() - logs.keys():  # Nothing of it came to the disk.
            logs[slug] = ProcessLog(slug=slug, queue=queue, next_number=found[slug])
    except OSError as exc:
        raise StartError(f"cannot keep logs in {directory}: {exc.strerror or exc}") from exc
    return _Found(marks, logs)


def _read_log(path: Path, mark: int | None, queue: LogQueue, *, was_cut: bool) -> ProcessLog:
    segments = find_segments(path)
    if was_cut:
        for segment in segments:
            recover(segment, check_text=True)
        segments = tuple(one for one in segments if one.index_size)
    elif segments and mark is not None:  # Else the agent has ended well.
        recover(segments[-1], check_text=False)
    state = _read_state(path / STATE)
    number = max(int(state.get("next", 1)), segments[-1].end if segments else 1, mark or 1)
    return ProcessLog(
        slug=path.name,
        queue=queue,
        next_number=number + _POWER_CUT_LINES * was_cut,
        last_crash=state.get("last_crash"),
        segments=segments,
    )


def _read_state(path: Path) -> Mapping[str, Any]:
    """A file that is damaged tells nothing: the lines themselves say more."""
    try:
        state = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}

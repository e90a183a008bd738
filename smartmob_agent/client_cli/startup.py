"""The first second of a child: most of what is wrong with an app ends it before that is over."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import attrs
import trio

from smartmob_agent.client import (
    Change,
    Client,
    ClientError,
    Event,
    Happening,
    Line,
    NoSuchProcessError,
    Process,
    ProcessFailedError,
    Snapshot,
)
from smartmob_agent.client.documents import FAILURES, GONE
from smartmob_agent.client_cli.control_sequences import without_controls
from smartmob_agent.client_cli.failure import FAILED
from smartmob_agent.client_cli.output import report, write_stderr

__all__ = ["STEADY_TIME", "EarlyEnd", "check_start", "wait_steady"]

STEADY_TIME = 1.0
"""Seconds after which a child counts as running: missing programs, modules and settings show in
less, and nobody likes to wait for longer."""
_LAST_LINES = 20
_TAIL = 1000
"""Lines among which those are: the next child may write already."""
_LINES_TIMEOUT = 10.0
"""Seconds to wait for the end of the output: a descendant of the child may keep its pipes open."""


@attrs.frozen(kw_only=True)
class EarlyEnd:
    """A child ended within its first second, or could not be started.

    error: one line on why.
    ran: whether there was a child.
    pid: of that child, None if it is not known.
    is_last: whether no other follows.
    """

    error: str
    ran: bool
    pid: int | None = None
    is_last: bool = False


async def check_start(
    client: Client, slug: str, *, restarts: int = 0, pid: int | None = None, show: bool = True
) -> int:
    """Wait until a child has run for a second; else report why not, and return `FAILED`.

    restarts: the number of the child.
    pid: of the child, if it is known.
    show: whether to report its last lines.

    Raises `ProcessFailedError` when the process has failed for good.
    """
    try:
        early = await wait_steady(client, slug, restarts=restarts, pid=pid)
    except ProcessFailedError as exc:
        if exc.state in FAILURES:
            raise
        what = "it was deleted" if exc.state == GONE else exc.state
        report(f"{slug}: {what} before the child had run for {STEADY_TIME:g} s")
        return FAILED
    if early is None:
        return 0
    lines = await _last_lines(client, slug, early.pid) if early.ran and show else []
    again = "" if early.is_last else "; it is tried again"
    report(f"{slug}: {early.error}{again}" + ("; its last lines:" if lines else ""))
    write_stderr("".join(f"    {without_controls(line)}\n" for line in lines))
    return FAILED


async def wait_steady(
    client: Client, slug: str, *, restarts: int = 0, pid: int | None = None
) -> EarlyEnd | None:
    """Wait until a child has run for a second, or has ended before.

    restarts, pid: of the child, as for `check_start`.

    Raises `ProcessFailedError` when the process has failed for good or is deleted, and when the
    agent stops.
    """
    watch = _Watch(slug=slug, restarts=restarts, pid=pid)
    async with client.events(slugs=[slug]) as events:
        while True:
            happening = None
            with trio.move_on_at(watch.deadline):
                try:
                    happening = await events.receive()
                except trio.EndOfChannel:
                    raise ProcessFailedError(slug, "the agent has stopped", None) from None
            if happening is not None:
                if watch.take(happening):
                    return watch.end
                continue
            # No news may also be news that is late, or lost.
            try:
                now = await client.status(slug)
            except NoSuchProcessError:
                raise ProcessFailedError(slug, GONE, None) from None
            if (now.state, now.restarts) == ("running", restarts):
                return None
            watch.deadline = math.inf  # What has happened is on its way.


@attrs.define(eq=False, kw_only=True)
class _Watch:
    """What is known of a child.

    deadline: when it has run long enough if there is no other news until then.
    end: how it ended too early, if it did.
    """

    slug: str
    restarts: int
    deadline: float = math.inf
    end: EarlyEnd | None = None
    _pid: int | None = None
    _began: datetime | None = None

    def take(self, happening: Happening) -> bool:
        """Take news; return whether it decides."""
        if isinstance(happening, Change):
            return self._note(happening, happening.time)
        if not isinstance(happening, Snapshot):
            return False  # A snapshot follows.
        if not happening.processes:
            raise ProcessFailedError(self.slug, GONE, None)
        [process] = happening.processes
        return self._note(process, process.started_at)

    def _note(self, it: Change | Process, time: datetime | None) -> bool:
        if it.state in {*FAILURES, GONE}:
            raise ProcessFailedError(self.slug, it.state, it.error)
        if it.state == "running" and it.restarts == self.restarts:
            if self._began is None:  # Else it is about readiness.
                self._began, self._pid = time, it.pid
                self.deadline = trio.current_time() + STEADY_TIME
            return False
        if it.state not in ("running", "backoff", "finished"):
            return False
        has_finished = it.state == "finished"
        if not self._was_steady(it) and not (has_finished and it.exit and it.exit.code == 0):
            error = it.error or f"the child ended with {it.exit}"
            self.end = EarlyEnd(
                error=error, ran=it.exit is not None, pid=self._pid, is_last=has_finished
            )
        return True

    def _was_steady(self, it: Change | Process) -> bool:
        """Whether the child ran for long enough, by the clock of the agent: news may be late."""
        if self._began is None or not isinstance(it, Change):
            return False
        return it.time - self._began >= timedelta(seconds=STEADY_TIME)


async def _last_lines(client: Client, slug: str, pid: int | None) -> Sequence[str]:
    """Return the last lines of a child that has ended, once its output is complete.

    pid: of the child; None: of the first that is found.
    """
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    with suppress(ClientError), trio.move_on_after(_LINES_TIMEOUT):
        async with client.records(slug, tail=_TAIL) as records:
            async for record in records:
                if isinstance(record, Line):
                    lines.append(record.text)
                elif _ends(record, pid):
                    break
                elif record.name in ("started", "exited"):
                    lines.clear()  # They were of a child before.
    return lines


def _ends(event: Event, pid: int | None) -> bool:
    return event.name == "exited" and pid in (None, event.fields.get("pid"))

"""What can be seen of a process, and how it goes from state to state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import attrs
import trio

from smartmob_agent.child.seam import Exit
from smartmob_agent.output.console import Console
from smartmob_agent.output.log.process_log import ProcessLog
from smartmob_agent.process.crash import crash_record
from smartmob_agent.process.preparation import Preparation
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.process.states import State, check_transition

__all__ = ["ProcessLifecycle", "ProcessView", "Transition"]

logger = logging.getLogger(__name__)


@attrs.define(eq=False, kw_only=True)
class ProcessView:
    """What can be seen of a process and changes while it lives: each transition has a copy.

    pid: of the child that runs now.
    exit: how the last child ended.
    error: one line for a human on what keeps it from running.
    starts: how many children it has had.
    port: the TCP port that the agent gave it.
    ready: whether the child that runs counts as started well: see `Readiness`.
    failures: starts in a row that came to nothing: no child, or one that was never ready.
    """

    spec: ProcessSpec
    state: State = State.PENDING
    pid: int | None = None
    exit: Exit | None = None
    error: str | None = None
    started_at: datetime | None = None
    next_start_at: datetime | None = None
    starts: int = 0
    port: int | None = None
    ready: bool = False
    failures: int = 0

    @property
    def restarts(self) -> int:
        """Starts after the first."""
        return max(self.starts - 1, 0)


@attrs.frozen(eq=False, kw_only=True)
class Transition(ProcessView):
    """A process has entered a state, or its readiness has changed; what could be seen of it then.

    previous: None when it was created; the same state when that has not changed.
    """

    previous: State | None


_VIEW = tuple(one.name for one in attrs.fields(ProcessView))


@attrs.define(eq=False, kw_only=True)
class ProcessLifecycle(ProcessView):
    """The life of one version of a process, and what can be seen of it.

    is_shown: whether it is the version that counts; nobody hears of the steps of others.
    changed: where those wait who wait for a change of the process.
    files: where they come from (`files.source`), and what becomes of them.
    log: keeps what the console publishes, if that stays.
    last_crash: how the last child ended, if nobody asked for that, and its last lines.
    """

    created_at: datetime
    files: Preparation
    console: Console
    log: ProcessLog | None = None
    last_crash: Mapping[str, object] | None = None
    _next_start: float = 0.0
    _publish: Callable[[Transition], None]
    _now: Callable[[], datetime]
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    is_shown: bool = True

    @property
    def slug(self) -> str:
        """The name of the process: unique among the living."""
        return self.spec.slug

    def transition(self, previous: State | None) -> Transition:
        """Return the step that has just been taken."""
        return Transition(previous=previous, **{name: getattr(self, name) for name in _VIEW})

    @property
    def is_put_off(self) -> bool:
        """Whether the next start is not due yet."""
        return self.state is State.BACKOFF and self._next_start > trio.current_time()

    def _enter(
        self, state: State, *, error: str | None = None, next_start_at: datetime | None = None
    ) -> None:
        if self.state is State.STOPPING and state is not State.GONE:
            return  # A stop overtakes what was under way and has not noticed yet.
        check_transition(self.state, state)
        previous, self.state, self.next_start_at = self.state, state, next_start_at
        if state is State.RUNNING or error is not None:
            self.error = error
        extra = {"slug": self.slug, "state": state.value, "pid": self.pid, "error": error}
        logger.info("state" if self.is_shown else "version", extra=extra)
        self._publish(self.transition(previous))
        self._changed.unpark_all()

    def enter_gone(self) -> None:
        """Nothing is left of the process."""
        self._enter(State.GONE)

    def show(self, publish: Callable[[Transition], None]) -> None:
        """Be what is seen of the process from now on.

        Who hears of it does so at once, unless it is about to become ready.
        """
        self._publish, self.is_shown = publish, True
        if self.state is not State.RUNNING:
            self._tell()

    def hide(self) -> None:
        """Let nobody hear of the further steps."""
        self._publish, self.is_shown = _ignore, False

    def report(self, error: str) -> None:
        """Tell an error that keeps nothing from running."""
        self.error = error
        self._tell()

    def _tell(self) -> None:
        """Something has changed that is seen, and the state has not."""
        self._publish(self.transition(self.state))
        self._changed.unpark_all()

    def _become_ready(self) -> None:
        """The child counts as started well."""
        if self.state is not State.RUNNING or self.pid is None:
            return  # It has ended, or is to.
        self.ready, self.failures, self.error = True, 0, None
        logger.info("ready", extra={"slug": self.slug, "pid": self.pid})
        self._tell()

    def _become_unready(self) -> None:
        """The child is to end."""
        if self.ready:
            self.ready = False
            self._tell()

    def _report_late(self, reason: str) -> None:
        """The child is not ready in time; it goes on."""
        if self.state is not State.RUNNING:
            return
        self.error = reason
        logger.warning("not ready", extra={"slug": self.slug, "error": reason})
        self._tell()

    def _enter_running(self, pid: int) -> None:
        """A child was started."""
        self.pid = pid
        self.starts += 1
        self.started_at = self._now()
        self._enter(State.RUNNING)

    def _note_exit(self, how: Exit) -> None:
        """The child has ended; what becomes of the process is not known yet."""
        self.pid, self.exit, self.ready = None, how, False
        logger.info("exit", extra={"slug": self.slug, "exit": str(how)})

    def _note_crash(self, how: Exit | None) -> None:
        """The last output of a child has come.

        how: it ended; None if that was asked for.
        """
        last = None if how is None else crash_record(self.console, how, self._now())
        if last != self.last_crash:
            self.last_crash = last
            if self.log is not None:
                self.log.last_crash = last
                self.log.save()

    def _back_off(self, delay: float, *, error: str) -> None:
        self._enter(State.BACKOFF, error=error, next_start_at=self._put_off(delay))

    def _put_off(self, delay: float) -> datetime:
        """Set the time of the next start; return it for show."""
        self._next_start = trio.current_time() + delay
        return self._now() + timedelta(seconds=delay)


def _ignore(_transition: Transition) -> None:
    """Nobody wants to hear of it."""

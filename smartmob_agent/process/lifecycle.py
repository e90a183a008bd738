"""What can be seen of a process, and how it goes from state to state."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

import attrs
import trio

from smartmob_agent.child.seam import Exit
from smartmob_agent.output.console import Console
from smartmob_agent.process.events import Transition
from smartmob_agent.process.preparation import Preparation
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.process.states import ENDS, State, check_transition

__all__ = ["ProcessLifecycle"]

logger = logging.getLogger(__name__)


@attrs.define(eq=False, kw_only=True)
class ProcessLifecycle:
    """What can be seen of a process: attributes, and `wait_state`, which waits for a change.

    files: where they come from (`files.source`), and what becomes of them.
    pid: of the child that runs now.
    exit: how the last child ended.
    error: one line for a human on what keeps it from running.
    starts: how many children it has had.
    """

    spec: ProcessSpec
    created_at: datetime
    files: Preparation
    console: Console
    state: State = State.PENDING
    pid: int | None = None
    exit: Exit | None = None
    error: str | None = None
    started_at: datetime | None = None
    next_start_at: datetime | None = None
    starts: int = 0
    _next_start: float = 0.0
    _publish: Callable[[Transition], None]
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    @property
    def slug(self) -> str:
        """The name of the process: unique among the living."""
        return self.spec.slug

    @property
    def restarts(self) -> int:
        """Starts after the first."""
        return max(self.starts - 1, 0)

    def transition(self, previous: State | None) -> Transition:
        """Return the step that has just been taken."""
        return Transition(
            spec=self.spec,
            previous=previous,
            state=self.state,
            pid=self.pid,
            restarts=self.restarts,
            exit=self.exit,
            error=self.error,
            started_at=self.started_at,
            next_start_at=self.next_start_at,
        )

    async def wait_state(self, *states: State) -> State:
        """Wait until the process is in one of `states`, or gone; return the one that it is in.

        A state that the process enters and leaves before the waiting task runs is missed.
        """
        awaited = {*states, State.GONE}
        state = self.state
        if state in awaited:
            await trio.lowlevel.checkpoint()
        while state not in awaited:
            await self._changed.park()
            state = self.state
        return state

    async def wait_started(self, after: int) -> None:
        """Wait for a child beyond the first `after`, or until it is clear that none comes soon:
        the next start is put off, or nobody will start one any more.
        """
        await trio.lowlevel.checkpoint()
        while self.starts <= after and self.state not in ENDS and not self._is_put_off:
            await self._changed.park()

    @property
    def _is_put_off(self) -> bool:
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
        logger.info("state", extra=extra)
        self._publish(self.transition(previous))
        self._changed.unpark_all()

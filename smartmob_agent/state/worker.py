"""One thread that works on jobs in their order, as many at once as there are."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs
import trio

from smartmob_agent.state.seam import StateFailedError

__all__ = ["Job", "Worker"]

J = TypeVar("J")


@attrs.define(eq=False)
class Job(Generic[J]):
    """Something to do, and what came of it."""

    work: J
    _outcome: object = None
    _done: trio.Event = attrs.field(factory=trio.Event)

    def finish(self, outcome: object) -> None:
        """Let `wait` return something, or raise it."""
        self._outcome = outcome
        self._done.set()

    async def wait(self) -> object:
        await self._done.wait()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class Worker(Generic[J]):
    """A thread; it ends when `close` was called and its jobs are done.

    The thread is a daemon: one that hangs in a call to a dead disk lets Python end all the same.

    main: what the thread runs; it calls `take` until that returns nothing.
    """

    def __init__(self, name: str, main: Callable[[Worker[J]], None]) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._condition = threading.Condition()
        self._jobs = deque[Job[J]]()
        self._closing = False
        self._thread = threading.Thread(target=main, args=(self,), name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def run(self, work: J) -> object:
        """Return what the thread finishes the job of some work with, or raise it if it is an error.

        If cancelled: the work is not begun; or it is done to its end, before all that is asked for
        later.
        """
        job = Job(work)
        with self._condition:
            if self._closing:
                raise StateFailedError("the state is closed")
            self._jobs.append(job)
            self._condition.notify()
        try:
            return await job.wait()
        finally:
            self._withdraw(job)

    def _withdraw(self, job: Job[J]) -> None:
        """Forget a job that was not taken: jobs do not heap up behind a disk that hangs."""
        with self._condition:
            if job in self._jobs:
                self._jobs.remove(job)

    def close(self) -> None:
        """Let the thread end after the jobs that it has."""
        with self._condition:
            self._closing = True
            self._condition.notify()

    async def wait_ended(self) -> None:
        """Wait for the end of the thread.

        If cancelled: the thread is left to itself.
        """
        await trio.to_thread.run_sync(self._thread.join, abandon_on_cancel=True)

    def take(self) -> Sequence[Job[J]]:
        """Wait for jobs and return all; none when the thread is to end.  Called in the thread."""
        with self._condition:
            while not self._jobs and not self._closing:
                self._condition.wait()
            jobs = list(self._jobs)
            self._jobs.clear()
            return jobs

    def report(self, call: Callable[[], None]) -> None:
        """Call something in the event loop, in the order of these calls.  Called in the thread.

        Nothing happens when the loop has ended.
        """
        try:
            self._token.run_sync_soon(call)
        except trio.RunFinishedError:
            return

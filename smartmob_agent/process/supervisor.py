"""The supervisor: all processes of an agent, by slug."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from functools import partial

import trio

from smartmob_agent.errors import ProcessNotFoundError, SlugInUseError, StoppingError
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.events import Events
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.spec import ProcessSpec, Services
from smartmob_agent.process.states import State
from smartmob_agent.source.uploads import Uploads

__all__ = ["Supervisor"]


class Supervisor:
    """Creates, finds and deletes processes; each is listed exactly as long as its task lives.

    nursery: where the processes live.  The supervisor never cancels it.
    events: each step of each process; they end with the last process, after `close`.
    """

    def __init__(self, nursery: trio.Nursery, services: Services) -> None:
        self._nursery = nursery
        self._services = services
        self._processes: dict[str, ManagedProcess] = {}
        self._stopping = False
        self.events = Events(services.config.output.events_bytes, services.now)

    def __iter__(self) -> Iterator[ManagedProcess]:
        """Go through the processes in the order of their creation."""
        return iter(tuple(self._processes.values()))

    def __len__(self) -> int:
        return len(self._processes)

    @property
    def stopping(self) -> bool:
        """No new process is taken."""
        return self._stopping

    @property
    def uploads(self) -> Uploads:
        """Takes archives that nobody can download."""
        return self._services.store.uploads

    def create(self, spec: ProcessSpec) -> ManagedProcess:
        """Register a process and start its task, in one step.

        Raises `StoppingError` after `close`, and `SlugInUseError` while a process of that
        slug lives.
        """
        if self._stopping:
            raise StoppingError
        if spec.slug in self._processes:
            raise SlugInUseError(spec.slug)
        process = ManagedProcess.create(spec, self._services, self.events.publish)
        self._processes[spec.slug] = process
        # In a context of its own: the task outlives the request that it comes from.
        start = partial(self._nursery.start_soon, self._run, process, name=f"process {spec.slug}")
        contextvars.Context().run(start)
        return process

    def get(self, slug: str) -> ManagedProcess:
        """Return the process of that slug, or raise `ProcessNotFoundError`."""
        try:
            return self._processes[slug]
        except KeyError:
            raise ProcessNotFoundError(slug) from None

    async def delete(self, slug: str) -> None:
        """Stop a process and wait until nothing of it is left: no process, no file.

        Raises `ProcessNotFoundError`.  Safe to call more than once, in every state.

        If cancelled: stops waiting; the process ends all the same.
        """
        process = self.get(slug)
        process.stop()
        await process.wait_state(State.GONE)

    def close(self) -> None:
        """Take no new process and no upload, and begin to stop all.

        Their nursery ends when they have.
        """
        self._stopping = True
        self.uploads.close()
        for process in self:
            process.stop(ConsoleEnd.AGENT)
        self._end_if_empty()

    def kill(self) -> None:
        """As `close`, but kill all trees at once."""
        self._stopping = True
        self.uploads.close()
        for process in self:
            process.kill()
        self._end_if_empty()

    async def _run(self, process: ManagedProcess) -> None:
        try:
            await process.run()
        finally:
            del self._processes[process.slug]
            self._end_if_empty()

    def _end_if_empty(self) -> None:
        if self._stopping and not self._processes:
            self.events.close()

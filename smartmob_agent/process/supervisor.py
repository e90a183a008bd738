"""The supervisor: all processes of an agent, by slug."""

from __future__ import annotations

import contextvars
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial

import attrs
import trio

from smartmob_agent.child.seam import ResourceLimits
from smartmob_agent.errors import (
    BadRequestError,
    ProcessNotFoundError,
    RequestError,
    SlugInUseError,
    StoppingError,
    copy_error,
)
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.output.log.logs import Logs
from smartmob_agent.output.log.process_log import ProcessLog
from smartmob_agent.process.events import Events
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.record import KIND, parse_record
from smartmob_agent.process.replacement import ReplaceAttempt, Replacement
from smartmob_agent.process.spec import ProcessSpec, Services
from smartmob_agent.process.states import State
from smartmob_agent.source.uploads import Uploads
from smartmob_agent.state.seam import StoredDocument

__all__ = ["Supervisor"]


_BEFORE_START = frozenset(
    {
        State.PENDING,
        State.DOWNLOADING,
        State.UNPACKING,
        State.PROCESSING,
        State.BUILDING,
    }
)


@attrs.define(eq=False)
class _Forgetting:
    """The removal of a process from what is kept, under way.

    error: why it is kept all the same.
    """

    done: trio.Event = attrs.field(factory=trio.Event)
    error: RequestError | None = None


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
        self._restored: list[ManagedProcess] = []
        self._forgetting: dict[str, _Forgetting] = {}
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

        Raises `StoppingError` after `close`, `SlugInUseError` while a process of that slug lives,
        `PortInUseError` when another one has its port, and `BadRequestError` for limits that this
        machine cannot see to.
        """
        if self._stopping:
            raise StoppingError
        if spec.slug in self._processes:
            raise SlugInUseError(spec.slug)
        self.check_limits(spec.limits)
        return self._begin(ManagedProcess(spec, self._services, self.events.publish))

    def replace(self, slug: str, replacement: Replacement) -> ReplaceAttempt:
        """Begin to put another version in the place of a process: see `ManagedProcess.replace`.

        Raises `StoppingError` after `close`, `ProcessNotFoundError`, `WrongStateError` for one
        that is to stop, `PortInUseError`, and `BadRequestError`.
        """
        if self._stopping:
            raise StoppingError
        process = self.get(slug)
        self.check_limits(replacement.spec.limits)
        return process.replace(replacement)

    def check_limits(self, limits: ResourceLimits) -> None:
        """Raise `BadRequestError` for limits that this machine cannot see to."""
        asked = {name for name, value in attrs.asdict(limits).items() if value is not None}
        if missing := sorted(asked & self._services.spawner.unlimited):
            raise BadRequestError(
                "the create request is not valid",
                [
                    f"expected no {name}: it takes a delegated cgroup v2 with that controller, and "
                    f"this agent has none (--cgroup) @ $.limits.{name}"
                    for name in missing
                ],
            )

    def restore(self, documents: Iterable[StoredDocument]) -> None:
        """Bring back what an earlier life of the agent has kept, in the order of its creation.

        documents: all that are kept, in that order; those of other kinds are left to others.

        Raises `StartError` when a document is not one of this agent's: then nothing has begun.
        """
        found = [
            (parse_record(one.key, one.value), one.revision)
            for one in documents
            if one.key[0] == KIND
        ]
        for kept, revision in found:
            process = ManagedProcess(kept.spec, self._services, self.events.publish, kept, revision)
            self._restored.append(self._begin(process))

    @property
    def is_restoring(self) -> bool:
        """Whether something that was brought back has not been started yet, nor failed to."""
        self._restored = [one for one in self._restored if one.state in _BEFORE_START]
        return bool(self._restored)

    def _begin(self, process: ManagedProcess) -> ManagedProcess:
        spec = process.spec
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

    @property
    def logs(self) -> Logs | None:
        """Where output is kept, if it is."""
        return self._services.logs

    def now(self) -> datetime:
        """The wall clock."""
        return self._services.now()

    def output_of(self, slug: str) -> tuple[Console, ProcessLog | None]:
        """Return the console and the log of a process, also of one that was deleted.

        Raises `ProcessNotFoundError` when nothing is kept of its output.
        """
        process = self._processes.get(slug)
        if process is not None:
            return process.console, process.log
        log = None if self.logs is None else self.logs.get(slug)
        if log is None or not log.is_worth_keeping:
            raise ProcessNotFoundError(slug)
        console = Console(0, self._services.now, log)
        console.close(ConsoleEnd.PROCESS)
        return console, log

    def find(self, slug: str) -> ManagedProcess | None:
        """Return the process of that slug, if there is one."""
        return self._processes.get(slug)

    async def delete(self, slug: str) -> None:
        """Stop a process and wait until nothing of it is left: no process, no file.

        Raises `ProcessNotFoundError`, and `StateFullError` or `StateFailedError` when the deletion
        cannot be kept: then nothing has changed.  Safe to call more than once, in every state.

        If cancelled: stops waiting; the process ends all the same.
        """
        process = self.get(slug)
        if self._services.state is not None:
            await self._forget(process)
        process.stop()
        await process.wait_state(State.GONE)

    async def _forget(self, process: ManagedProcess) -> None:
        """Remove a process from what is kept, for all that want it deleted at the same time."""
        forgetting = self._forgetting.get(process.slug)
        if forgetting is None:
            forgetting = self._forgetting[process.slug] = _Forgetting()
            # In a task that no client's leaving ends, and in a context of its own.
            start = partial(self._nursery.start_soon, self._run_forget, process, forgetting)
            contextvars.Context().run(start)
        await forgetting.done.wait()
        if forgetting.error is not None:
            raise copy_error(forgetting.error) from forgetting.error

    async def _run_forget(self, process: ManagedProcess, forgetting: _Forgetting) -> None:
        try:
            await process.forget()
            process.stop()
        except RequestError as exc:
            forgetting.error = exc
        finally:
            del self._forgetting[process.slug]
            forgetting.done.set()

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

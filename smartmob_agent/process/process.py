"""One managed process: from its archive to a child that is started again until deleted."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import math
import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

import attrs
import trio

from smartmob_agent.child.seam import Exit
from smartmob_agent.errors import OwnedError, RequestError, TransientError, copy_error
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.process.backoff import Backoff
from smartmob_agent.process.incarnation import Incarnation
from smartmob_agent.process.lifecycle import Transition
from smartmob_agent.process.policies import RestartPolicy
from smartmob_agent.process.preparation import Preparation
from smartmob_agent.process.record import (
    WRITE_TIMEOUT,
    KeptProcess,
    KeptReplacement,
    ProcessRecord,
)
from smartmob_agent.process.replacement import (
    ReplaceAttempt,
    ReplaceFailedError,
    Replacement,
    ReplaceSupersededError,
    last_lines,
    order_of,
)
from smartmob_agent.process.spec import ProcessSpec, Services
from smartmob_agent.process.states import ENDS, State, WrongStateError
from smartmob_agent.process.termination import Termination

__all__ = ["ManagedProcess"]

logger = logging.getLogger(__name__)

_SAVE_INTERVAL = 10.0
_ENDING = (State.STOPPING, State.GONE)


class ManagedProcess:
    """A process with a stable slug, which outlives its children and its versions.

    What can be seen of it is that of its current version: see `ProcessView`.

    created_at: when somebody asked for it first.
    console: what it writes, over all children and versions.
    log: keeps what the console publishes, if that stays.
    current: the version that counts.
    replacing: the latest replacement, under way or over; None if there never was one.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        services: Services,
        publish: Callable[[Transition], None],
        kept: KeptProcess | None = None,
        revision: int = 0,
    ) -> None:
        """Make a process which is pending until someone runs it.

        publish: is called with each step that it takes, also with this first one.
        kept: what an earlier life of the agent has left of it, with its revision.
        """
        self._services = services
        self._publish = publish
        self._changed = trio.lowlevel.ParkingLot()
        self._record = ProcessRecord(services.state)
        self._known = trio.Event()
        """Set when it is kept, or cannot be."""
        self._refusal: RequestError | None = None
        self._saved_at = -math.inf
        self._end = ConsoleEnd.AGENT
        self._nursery: trio.Nursery | None = None
        self._switching = trio.Lock()
        self._waiting: list[tuple[ReplaceAttempt, Incarnation]] = []
        self.log = None if services.logs is None else services.logs.open(spec.slug)
        self.console = Console(services.config.output.console_bytes, services.now, self.log)
        self.created_at: datetime = services.now() if kept is None else kept.created_at
        had = kept or KeptProcess(spec=spec, created_at=self.created_at)
        self.current = self._make(
            spec, publish, found_sha256=had.found_sha256, port=had.port, starts=had.starts
        )
        if self.log is not None and kept is not None:
            self.current.last_crash = self.log.last_crash
        self.replacing: ReplaceAttempt | None = None
        self._versions = [self.current]
        if kept is not None:
            self._adopt(kept, revision)
        publish(self.current.transition(None))

    def _make(
        self,
        spec: ProcessSpec,
        publish: Callable[[Transition], None],
        *,
        found_sha256: str | None = None,
        port: int | None = None,
        starts: int = 0,
        is_shown: bool = True,
    ) -> Incarnation:
        services = self._services
        lease = services.ports.open(spec.port, spec.slug, port)
        return Incarnation(
            spec=spec,
            created_at=self.created_at,
            starts=starts,
            files=Preparation.open(spec, services, self.console, found_sha256),
            console=self.console,
            log=self.log,
            publish=publish,
            now=services.now,
            changed=self._changed,
            is_shown=is_shown,
            services=services,
            backoff=Backoff(services.config.restart, services.random),
            termination=Termination(policy=spec.stop, stop_timeout=services.config.stop_timeout),
            lease=lease,
            stop_all=self.stop,
            save=self._save,
        )

    def _adopt(self, kept: KeptProcess, revision: int) -> None:
        """Go on where an earlier life of the agent has ended."""
        current, once = self.current, kept.spec.restart is RestartPolicy.NEVER
        self._record.adopt(kept, revision)
        current.exit = kept.exit
        # What may run once is not run again when nobody knows how far it came.
        current.has_finished = kept.has_finished
        current.is_interrupted = kept.has_finished or (once and kept.starts > 0)
        wish = kept.replacing
        if wish is not None and wish.spec.restart is not RestartPolicy.NEVER:
            try:
                self.replace(wish.replacement)
            except RequestError as exc:
                logger.warning("replace", extra={"slug": self.slug, "error": str(exc)})

    @property
    def spec(self) -> ProcessSpec:
        """What was asked for, of the current version."""
        return self.current.spec

    @property
    def slug(self) -> str:
        """The name of the process: unique among the living."""
        return self.current.slug

    def check_free(self) -> None:
        """Raise `OwnedError` if it is to be changed through its app alone."""
        if self.spec.owner is not None:
            raise OwnedError(self.slug, self.spec.owner)

    @property
    def state(self) -> State:
        return self.current.state

    @property
    def pid(self) -> int | None:
        """Of the child that runs now."""
        return self.current.pid

    @property
    def exit(self) -> Exit | None:
        """How the last child ended."""
        return self.current.exit

    @property
    def error(self) -> str | None:
        """One line for a human on what keeps it from running."""
        return self.current.error

    @property
    def started_at(self) -> datetime | None:
        return self.current.started_at

    @property
    def next_start_at(self) -> datetime | None:
        return self.current.next_start_at

    @property
    def starts(self) -> int:
        """How many children it has had."""
        return self.current.starts

    @property
    def restarts(self) -> int:
        """Starts after the first."""
        return self.current.restarts

    @property
    def port(self) -> int | None:
        """The TCP port that the agent gave it."""
        return self.current.port

    @property
    def ready(self) -> bool:
        """Whether the child that runs counts as started well."""
        return self.current.ready

    @property
    def failures(self) -> int:
        """Starts in a row that came to nothing."""
        return self.current.failures

    @property
    def last_crash(self) -> Mapping[str, object] | None:
        """How the last child ended, if nobody asked for that, and its last lines."""
        return self.current.last_crash

    @property
    def files(self) -> Preparation:
        """Where they come from (`files.source`), and what becomes of them."""
        return self.current.files

    @property
    def containment(self) -> str:
        """What is promised of its tree when the agent is killed: see `Spawner.containment`."""
        return self._services.spawner.containment

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
        while self.starts <= after and self.state not in ENDS and not self.current.is_put_off:
            await self._changed.park()

    async def wait_ready(self) -> bool:
        """Wait until a child is ready; False if it is clear that none will be without help."""
        await trio.lowlevel.checkpoint()
        while not self.ready and self.state not in ENDS and self.state is not State.FINISHED:
            await self._changed.park()
        return self.ready

    async def wait_verdict(self) -> str | None:
        """Wait until it is ready, or has run once and well: None; else return why it is neither.

        That is known when a child has ended before it was ready, is not ready in time, or will not
        be started.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self.ready or (self.state is State.FINISHED and self.exit == Exit(code=0)):
                return None
            stands = self.state in ENDS or self.state in (State.BACKOFF, State.FINISHED)
            late = self.state is State.RUNNING and self.error is not None
            if stands or late:
                return self.error or f"it is {self.state.value}"
            await self._changed.park()

    async def wait_pid_other(self, pid: int | None) -> None:
        """Wait until another child runs than this one, or none."""
        await trio.lowlevel.checkpoint()
        while self.pid == pid:
            await self._changed.park()

    async def wait_kept(self) -> None:
        """Wait until the process is kept, if it is to outlive the agent.

        Raises `StateFullError` and `StateFailedError` when it cannot be: then it never began, and
        nothing is left of it.

        If cancelled: stops waiting; the process goes on.
        """
        await self._known.wait()
        if self._refusal is not None:
            await self.wait_state(State.GONE)
            raise copy_error(self._refusal) from self._refusal

    async def forget(self) -> None:
        """Let the process not come back with the next life of the agent; `stop` is for the caller.

        Raises `StateFullError` and `StateFailedError`: then nothing has changed.
        """
        await self._known.wait()
        await self._record.remove()

    def stop(self, end: ConsoleEnd = ConsoleEnd.PROCESS) -> None:
        """Begin to end the process and return at once.  Safe in every state, and again.

        The child is asked to end (SIGTERM to its group); what is left of its tree after
        `stop_timeout` seconds is killed.  Then the files are removed and the console ends
        with `end`; `wait_state(State.GONE)` waits for all of it.

        What not even SIGKILL ends is waited for, unless `end` is the agent's.
        """
        if end is ConsoleEnd.AGENT:
            for one in self._versions:
                one.wait_no_longer()
        if self.state not in _ENDING:
            self._end = end
            for one in tuple(self._versions):
                one.stop()

    def kill(self) -> None:
        """As `stop`, but kill the tree at once, also while it stops."""
        self.stop(ConsoleEnd.AGENT)
        for one in self._versions:
            one.kill_at_once()

    def restart(self) -> None:
        """Begin to start a new child, without any delay, and return at once.

        One that runs is ended first, as by `stop`.  A process that is about to start a child
        anyway goes on, and one whose build has failed is built again.  `wait_started` waits for
        the outcome.

        Raises `WrongStateError` when it will never start a child again.
        """
        self.current.restart()

    async def keep_and_restart(self) -> None:
        """As `restart`, when it is kept that a process that had finished is wanted again.

        Raises `StateFullError` and `StateFailedError` when it cannot be: then nothing has changed.

        If cancelled: it was kept and begun, or neither.
        """
        if self.state is State.FINISHED:
            wanted = partial(attrs.evolve, has_finished=False, exit=None)
            await self._record.change(wanted)
        else:
            await trio.lowlevel.checkpoint()
        self.restart()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group of the child; it may end by it.

        Raises `WrongStateError` when no child runs.
        """
        self.current.send_signal(number)

    def replace(self, replacement: Replacement) -> ReplaceAttempt:
        """Begin to put another version in the place of this one, and return at once.

        It is fetched, unpacked and built while the old one goes on.  Then its child is started:
        beside the old one, or after that has ended.  When it is ready it has the place, slug,
        console and all, and the old one ends.  If it fails before that, the old one goes on.

        One that is under way is called off, unless its version has the place already.

        Raises `WrongStateError` for a process that is to stop, `BadRequestError`, and
        `PortInUseError` when another process has its port.
        """
        if self.state in _ENDING:
            raise WrongStateError("that is not to stop", self.state)
        order = order_of(replacement)
        attempt = ReplaceAttempt(slug=self.slug, replacement=replacement, order=order)
        version = self._make(
            replacement.spec,
            attempt.note,
            port=self.current.lease.number if order == "stop-first" else None,
            is_shown=False,
        )
        version.trial = _Trial(process=self, attempt=attempt, version=version)
        self.cancel_replace()
        self.replacing = attempt
        self._versions.append(version)
        self._waiting.append((attempt, version))
        self._begin_waiting()
        return attempt

    def cancel_replace(self) -> None:
        """Call off a replacement that is under way, unless its version has the place already.

        What there is of it ends soon; `ReplaceAttempt.wait` waits for that.
        """
        attempt = self.replacing
        if attempt is None or attempt.is_switching or attempt.has_ended:
            return
        attempt.fail(ReplaceSupersededError(self.slug))
        for one in self._versions:
            if one.trial is not None:
                one.stop()

    def _begin_waiting(self) -> None:
        while self._nursery is not None and self._waiting:
            attempt, version = self._waiting.pop(0)
            # In a context of its own: it outlives the request that it comes from.
            name = f"replace {self.slug}"
            start = partial(self._nursery.start_soon, self._replace, attempt, version, name=name)
            contextvars.Context().run(start)

    async def run(self) -> None:
        """Live: download, unpack, start and start again, until `stop`; then clean up.

        A failure that trying again cannot mend parks it until then.

        If cancelled: does what `stop` does, and returns when nothing is left.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._begin_waiting()
                first = self.current
                try:
                    await first.run(self._keep)
                finally:
                    self._known.set()
        except Exception:  # What goes wrong in one process while it stops must not end the others.
            logger.exception("process failed while it stopped", extra={"slug": self.slug})
        finally:
            self._nursery = None
            with trio.move_on_after(WRITE_TIMEOUT, shield=True):
                await self._save_last()
            self.console.close(self._end)
            if self.log is not None and self._services.logs is not None:
                self._services.logs.close(self.log)
            self.current.enter_gone()

    async def _keep(self) -> None:
        """See to it that the process outlives the agent, or end it."""
        if self._record.is_lasting:
            try:
                await self._record.write(self._record.kept or self._to_keep())
            except RequestError as exc:
                self._refusal = exc
                self.stop()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        self._known.set()

    def _to_keep(self) -> KeptProcess:
        return KeptProcess(
            spec=self.spec,
            created_at=self.created_at,
            found_sha256=self.files.source.sha256,
            port=self.current.lease.number,
            starts=self.starts,
        )

    async def _save(self, version: Incarnation, has_finished: bool) -> None:
        """Keep what has changed: before a start, and when it has finished.

        How often it was started is kept at most every 10 seconds, unless it may be started once.
        """
        before = self._record.kept
        if before is None or version is not self.current:
            return
        once = self.spec.restart is RestartPolicy.NEVER
        is_old = trio.current_time() - self._saved_at >= _SAVE_INTERVAL

        def change(kept: KeptProcess) -> KeptProcess:
            if version is not self.current:
                return kept
            now = attrs.evolve(
                self._to_keep(),
                starts=self.starts + (not has_finished),
                has_finished=has_finished,
                exit=self.exit if has_finished else None,
                replacing=kept.replacing,
            )
            same = attrs.evolve(now, starts=kept.starts) == kept
            return kept if same and not (once or is_old) else now

        if change(before) == before:
            return
        try:
            await self._record.change(change)
            self._saved_at = trio.current_time()
        except RequestError as exc:
            if once and not has_finished:
                raise TransientError(f"cannot keep that it was started: {exc}") from exc
            logger.warning("cannot keep", extra={"slug": self.slug, "error": str(exc)})

    async def _save_last(self) -> None:
        """Keep how often it was started, when the agent ends."""
        before = self._record.kept
        if self._end is ConsoleEnd.AGENT and before is not None and before.starts != self.starts:
            with contextlib.suppress(RequestError):
                await self._record.change(lambda kept: attrs.evolve(kept, starts=self.starts))

    async def _replace(self, attempt: ReplaceAttempt, version: Incarnation) -> None:
        """Let a version live: on trial first."""
        try:
            await version.run(partial(self._keep_wish, attempt, version))
        finally:
            self._forget_version(version)
            if not attempt.has_switched:
                self.current.gives_way = False
                attempt.fail(self._failure(attempt, version))
                with trio.move_on_after(WRITE_TIMEOUT, shield=True):
                    await self._drop_wish(attempt)
                self._tell_failure(attempt)
                attempt.end()

    async def _keep_wish(self, attempt: ReplaceAttempt, version: Incarnation) -> None:
        """See to it that the replacement outlives the agent, if it is to, or end it."""
        await self._known.wait()
        replacement = attempt.replacement
        wish = KeptReplacement.of(replacement) if replacement.lasts else None
        try:
            await self._record.change(lambda kept: attrs.evolve(kept, replacing=wish))
        except RequestError as exc:
            attempt.fail(exc)
            version.stop()
        else:
            attempt.note_kept()

    async def _drop_wish(self, attempt: ReplaceAttempt) -> None:
        """Forget it, unless a newer one is kept in its place or the next life is to try again."""
        if attempt is not self.replacing or self.state in _ENDING:
            return
        try:
            await self._record.change(lambda kept: attrs.evolve(kept, replacing=None))
        except RequestError as exc:
            logger.warning("cannot keep", extra={"slug": self.slug, "error": str(exc)})

    def _failure(self, attempt: ReplaceAttempt, version: Incarnation) -> RequestError:
        reason = version.error or "the process is to stop"
        lines = last_lines(self.console, version.pids)
        return ReplaceFailedError(self.slug, attempt.step, reason, lines)

    def _tell_failure(self, attempt: ReplaceAttempt) -> None:
        error = attempt.error
        if isinstance(error, ReplaceFailedError) and self.state not in _ENDING:
            told = f"the new version was given up: {error.step} failed: {error.reason}"
            logger.warning("replace", extra={"slug": self.slug, "error": told})
            self.console.publish_event(
                "replace-failed", {"step": error.step, "error": error.reason}
            )
            self.current.report(told)

    async def take_over(self, attempt: ReplaceAttempt, version: Incarnation) -> None:
        """Put a version that is ready in the place of the current one, when that is kept."""
        async with self._switching:
            old = self.current
            attempt.is_switching = True
            starts = old.starts + version.starts
            wanted = KeptProcess(
                spec=version.spec,
                created_at=self.created_at,
                found_sha256=version.files.source.sha256,
                port=version.lease.number,
                starts=starts,
            )
            try:
                await self._record.change(lambda _: wanted)
            except RequestError as exc:
                attempt.is_switching = False
                attempt.fail(exc)
                version.stop()
                return
            version.starts, version.exit = starts, version.exit or old.exit
            version.last_crash = version.last_crash or old.last_crash
            version.trial, self.current = None, version
            old.hide()
            old.gives_way = False
            version.show(self._publish)
            attempt.switch()
            logger.info("replaced", extra={"slug": self.slug, "pid": version.pid})
            self.console.publish_event("replaced", {"pid": version.pid})
            assert self._nursery is not None  # noqa: S101  # A version lives in it.
            self._nursery.start_soon(self._retire, old, attempt)

    async def make_way(self, attempt: ReplaceAttempt, version: Incarnation) -> None:
        """Let a version have the seat and the port of the current one, if it is to stop first."""
        attempt.move("starting")
        async with self._switching:
            if attempt.order == "stop-first":
                version.seat = self.current.seat
                self.current.make_way()

    async def _retire(self, old: Incarnation, attempt: ReplaceAttempt) -> None:
        """Let a version go whose place another one has."""
        old.retire()
        try:
            if attempt.order == "start-first":
                with trio.move_on_after(attempt.replacement.drain):
                    await old.ended.wait()
            old.stop()
            await old.ended.wait()
        finally:
            self._forget_version(old)
            attempt.end()

    def _forget_version(self, version: Incarnation) -> None:
        """Nothing is left of it; whoever finds that out last does nothing."""
        if version in self._versions:
            self._versions.remove(version)


@attrs.frozen(eq=False, kw_only=True)
class _Trial:
    """See `ReplaceTrial`."""

    _process: ManagedProcess
    _attempt: ReplaceAttempt
    _version: Incarnation

    async def make_way(self) -> None:
        await self._process.make_way(self._attempt, self._version)

    def begin(self) -> None:
        self._process.current.gives_way = False

    async def take_over(self) -> None:
        await self._process.take_over(self._attempt, self._version)

"""One managed process: from its archive to a child that is started again until deleted."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import signal
from collections.abc import Callable

import attrs
import trio

from smartmob_agent.child.seam import Child, Command, Exit
from smartmob_agent.errors import RequestError, SourceError, TransientError, copy_error
from smartmob_agent.output.batch import Stream
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.output.pump import pump_all
from smartmob_agent.process.backoff import Backoff
from smartmob_agent.process.lifecycle import ProcessLifecycle, Transition
from smartmob_agent.process.network import Notifications
from smartmob_agent.process.policies import (
    DEFAULT_READINESS,
    PORT_READINESS,
    Readiness,
    RestartPolicy,
)
from smartmob_agent.process.ports import PortLease
from smartmob_agent.process.preparation import Preparation, failure_state
from smartmob_agent.process.readiness import ReadinessProbe
from smartmob_agent.process.record import KeptProcess, ProcessRecord
from smartmob_agent.process.spec import ProcessSpec, Services
from smartmob_agent.process.states import (
    ENDS,
    FAILURES,
    REPEATABLE,
    TRANSITIONS,
    State,
    WrongStateError,
)
from smartmob_agent.process.termination import Termination
from smartmob_agent.source.disk.timeouts import REMOVE_TREE_TIMEOUT

__all__ = ["ManagedProcess"]

logger = logging.getLogger(__name__)

_SAVE_INTERVAL = 10.0
_PORT_NUMBER = re.compile("[0-9]{1,5}")
_ASKED = "it is started again because someone asked for it"


@attrs.define(eq=False, kw_only=True)
class ManagedProcess(ProcessLifecycle):
    """A process with a stable slug, which outlives its children.

    What can be seen of it is in `ProcessLifecycle`.
    """

    _services: Services
    _backoff: Backoff
    _end: ConsoleEnd = ConsoleEnd.AGENT
    _termination: Termination
    _lease: PortLease
    _record: ProcessRecord
    _known: trio.Event = attrs.field(factory=trio.Event)
    """Set when it is kept, or cannot be."""
    _refusal: RequestError | None = None
    _saved_at: float = -math.inf
    _was_interrupted: bool = False
    _child: Child | None = None
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _turn: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _pause: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    @classmethod
    def create(
        cls,
        spec: ProcessSpec,
        services: Services,
        publish: Callable[[Transition], None],
        kept: KeptProcess | None = None,
        revision: int = 0,
    ) -> ManagedProcess:
        """Make a process which is pending until someone runs it.

        publish: is called with each step that it takes, also with this first one.
        kept: what an earlier life of the agent has left of it, with its revision.
        """
        had = kept or KeptProcess(spec=spec, created_at=services.now())
        console = Console(services.config.output.console_bytes, services.now)
        process = cls(
            spec=spec,
            created_at=had.created_at,
            starts=had.starts,
            exit=had.exit,
            files=Preparation.open(spec, services, console, had.found_sha256),
            console=console,
            publish=publish,
            now=services.now,
            services=services,
            backoff=Backoff(services.config.restart, services.random),
            termination=Termination(policy=spec.stop, stop_timeout=services.config.stop_timeout),
            lease=services.ports.open(spec.port, spec.slug, had.port),
            record=ProcessRecord(services.state),
        )
        if kept is not None:
            process._record.adopt(kept, revision)
            # What may run once is not run again when nobody knows how far it came.
            process._was_interrupted = kept.has_finished or (
                spec.restart is RestartPolicy.NEVER and kept.starts > 0
            )
        publish(process.transition(None))
        return process

    @property
    def containment(self) -> str:
        """What is promised of its tree when the agent is killed: see `Spawner.containment`."""
        return self._services.spawner.containment

    async def wait_kept(self) -> None:
        """Wait until the process is kept, if it is to outlive the agent.

        Raises `StateFullError` and `StateFailedError` when it cannot be: then it never begins.

        If cancelled: stops waiting; the process goes on.
        """
        await self._known.wait()
        if self._refusal is not None:
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
            self._termination.wait_no_longer()
        if self.state not in (State.STOPPING, State.GONE):
            self._end = end
            self.ready = False
            self._enter(State.STOPPING)
            self._scope.cancel(reason="the process is to stop")

    def kill(self) -> None:
        """As `stop`, but kill the tree at once, also while it stops."""
        self.stop(ConsoleEnd.AGENT)
        self._termination.kill_at_once()

    def restart(self) -> None:
        """Begin to start a new child, without any delay, and return at once.

        One that runs is ended first, as by `stop`.  A process that is about to start a child
        anyway goes on, and one whose build has failed is built again.  `wait_started` waits for
        the outcome.

        Raises `WrongStateError` when it will never start a child again.
        """
        if self.state in ENDS - REPEATABLE:
            raise WrongStateError("that can be started again", self.state)
        self._backoff.reset()
        if self.state in REPEATABLE:
            self._back_off(0.0, error="it is tried again because someone asked for it")
            self._pause.cancel(reason="the process is to be tried again")
        elif self.state is State.RUNNING:
            self._become_unready()
            self._turn.cancel(reason="the process is to be started again")
        elif self.state is State.FINISHED:
            self._back_off(0.0, error=_ASKED)
            self._pause.cancel(reason="the process is to be started again")
        elif self.state is State.BACKOFF:
            self.next_start_at = self._put_off(0.0)
            self._pause.cancel(reason="the process is to be started now")

    async def keep_and_restart(self) -> None:
        """As `restart`, when it is kept that a process that had finished is wanted again.

        Raises `StateFullError` and `StateFailedError` when it cannot be: then nothing has changed.

        If cancelled: it was kept and begun, or neither.
        """
        if self.state is State.FINISHED:
            await self._record.reopen()
        else:
            await trio.lowlevel.checkpoint()
        self.restart()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group of the child; it may end by it.

        Raises `WrongStateError` when no child runs.
        """
        if self._child is None:
            raise WrongStateError("with a child that runs", self.state)
        logger.info("signal", extra={"slug": self.slug, "signal": number.name})
        self._child.send_signal(number)

    async def run(self) -> None:
        """Live: download, unpack, start and start again, until `stop`; then clean up.

        A failure that trying again cannot mend parks it until then.

        If cancelled: does what `stop` does, and returns when nothing is left.
        """
        try:
            try:
                with self._scope:
                    await self._keep()
                    await self._live()
            finally:
                self.stop(ConsoleEnd.AGENT)
                self._known.set()
                with trio.move_on_after(REMOVE_TREE_TIMEOUT, shield=True):
                    await self._save_last()
                    await self.files.remove()
                self._lease.close()
        except Exception:  # What goes wrong in one process while it stops must not end the others.
            logger.exception("process failed while it stopped", extra={"slug": self.slug})
        finally:
            self.console.close(self._end)
            self._enter(State.GONE)

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

    def _to_keep(self, *, starts: int | None = None, has_finished: bool = False) -> KeptProcess:
        return KeptProcess(
            spec=self.spec,
            created_at=self.created_at,
            found_sha256=self.files.source.sha256,
            port=self._lease.number,
            starts=self.starts if starts is None else starts,
            has_finished=has_finished,
            exit=self.exit if has_finished else None,
        )

    async def _save(self, *, has_finished: bool = False) -> None:
        """Keep what has changed: before a start, and when it has finished.

        How often it was started is kept at most every 10 seconds, unless it may be started once.
        """
        before = self._record.kept
        if before is None:
            return
        once = self.spec.restart is RestartPolicy.NEVER
        now = self._to_keep(starts=self.starts + (not has_finished), has_finished=has_finished)
        is_old = trio.current_time() - self._saved_at >= _SAVE_INTERVAL
        if attrs.evolve(now, starts=before.starts) == before and not (once or is_old):
            return
        try:
            await self._record.write(now)
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
                await self._record.write(attrs.evolve(before, starts=self.starts))

    async def _live(self) -> None:
        command: Command | None = None
        if self._was_interrupted:
            await self._stay_finished()
        while True:
            try:
                if command is None:
                    command = await self.files.prepare(self._enter)
                    self._backoff.reset()
                renewed = await self.files.renew(command)
                if renewed is None:
                    command = None
                    self._back_off(0.0, error="the files of the app are gone, and are made anew")
                else:
                    await self._run_child(renewed)
                if self.state is State.RUNNING:
                    await self._finish()
            except SourceError as exc:
                self._fail(exc)
            except TransientError as exc:
                self.failures += 1
                self._back_off(self._backoff.after_failure(exc.retry_after), error=str(exc))
            except Exception as exc:  # noqa: BLE001  # The border of one tenant.
                self._report_internal_error(exc)
            # A failure is final, unless someone asks for another try.
            until = math.inf if self.state in FAILURES else self._next_start
            with trio.CancelScope() as self._pause:
                await trio.sleep_until(until)

    async def _finish(self) -> None:
        """The child has ended, and nothing has put off the next one."""
        if not self._turn.cancel_called:
            await self._save(has_finished=True)
        if self._turn.cancel_called:
            self._back_off(0.0, error=_ASKED)
        else:
            self._next_start = math.inf
            self._enter(State.FINISHED)

    async def _stay_finished(self) -> None:
        """Wait until someone wants another child of a process that is not started by itself."""
        finished = self._record.kept is not None and self._record.kept.has_finished
        error = None if finished else "it was interrupted by the end of the agent, and runs once"
        self._next_start = math.inf
        self._enter(State.FINISHED, error=error)
        with trio.CancelScope() as self._pause:
            await trio.sleep_until(self._next_start)

    async def _run_child(self, command: Command) -> None:
        async with contextlib.AsyncExitStack() as stack:
            readiness = self._readiness_of(command)
            env = dict(command.env)
            if "PORT" not in env:
                self.port = await self._lease.secure()
            if self.port is not None:
                env = {"PORT": str(self.port), **env}
            text = env.get("PORT", "")
            await self._save()
            notifications: Notifications | None = None
            if readiness.notify:
                opening = self._services.network.open_notifications()
                notifications = await stack.enter_async_context(opening)
                env["NOTIFY_SOCKET"] = notifications.address
            probe = ReadinessProbe(
                wish=readiness,
                network=self._services.network,
                port=int(text) if _PORT_NUMBER.fullmatch(text) else None,
                notifications=notifications,
                output=self.console.subscribe(),
            )
            started = attrs.evolve(command, env=env, limits=self.spec.limits)
            await self._run_child_until(started, probe)

    def _readiness_of(self, command: Command) -> Readiness:
        spec = self.spec
        if spec.ready is not None:
            return spec.ready
        is_web = spec.process_type == "web" and spec.port == "auto" and "PORT" not in command.env
        return PORT_READINESS if is_web else DEFAULT_READINESS

    async def _run_child_until(self, command: Command, probe: ReadinessProbe) -> None:
        child = await self._services.spawner.spawn(command)
        started = trio.current_time()
        output = trio.CancelScope(shield=True)  # Its deadline is set below, on every path.
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_output, child, output)
                watch = trio.CancelScope()
                try:
                    with trio.CancelScope() as self._turn:
                        self._started(child)
                        nursery.start_soon(self._watch_readiness, probe, watch)
                        how = await child.wait()
                        watch.cancel(reason="the child has ended")
                        self._exited(how, trio.current_time() - started)
                        await child.wait_settled()
                        self._report_stuck(child)
                        await child.wait_empty()
                except trio.Cancelled:
                    from_outside = not nursery.cancel_scope.cancel_called  # else a reader failed
                    if from_outside and self.state is not State.STOPPING:
                        self.stop(ConsoleEnd.AGENT)
                    raise
                finally:
                    watch.cancel(reason="the child is to end")
                    try:
                        # Bounded by the stop time-out and by what `Child` says of a kill.
                        with trio.CancelScope(shield=True):
                            await self._end_tree(child)
                    finally:
                        drain_timeout = self._services.config.output.drain_timeout
                        output.deadline = trio.current_time() + drain_timeout
        finally:
            if self.pid is None and self.exit is not None:
                self.console.publish_event("exited", {"pid": child.pid, **self.exit.record})

    async def _watch_readiness(self, probe: ReadinessProbe, scope: trio.CancelScope) -> None:
        """Tell when the child is ready, or that it is late."""
        with scope:
            try:
                await probe.wait_ready(self._report_late)
            except Exception:  # A child is not to end by a fault of who looks at it.
                logger.exception("readiness probe failed", extra={"slug": self.slug})
            else:
                self._become_ready()

    async def _read_output(self, child: Child, scope: trio.CancelScope) -> None:
        pipes = {Stream.STDOUT: child.stdout, Stream.STDERR: child.stderr}
        with scope:
            await pump_all(pipes, self.console, self._services.config.output.line_bytes)

    async def _end_tree(self, child: Child) -> None:
        await self._termination.run(child, self._report_stuck)
        if self.pid is not None and not child.stuck:
            self._note_exit(await child.wait())

    def _report_stuck(self, child: Child) -> None:
        if child.stuck:
            pids = ", ".join(map(str, child.stuck))
            self.error = f"not even SIGKILL ends pid {pids}: uninterruptible sleep in the kernel"
            logger.warning("stuck", extra={"slug": self.slug, "pids": pids})
            self._changed.unpark_all()

    def _started(self, child: Child) -> None:
        self._child = child
        self._enter_running(child.pid)
        port = {} if self.port is None else {"port": self.port}
        self.console.publish_event("started", {"pid": child.pid, **port})

    def _exited(self, how: Exit, uptime: float) -> None:
        """The child ended by itself: see to the next start."""
        if not self.ready:
            self.failures += 1
        self._note_exit(how)
        error = f"the child ended with {how} after {uptime:.1f} s{how.hint}"
        # Someone may have asked for a new child when this one had ended and nobody had noticed.
        if self._turn.cancel_called:
            self._back_off(0.0, error=error)
        elif self.spec.restart.restarts_after(how):
            self._back_off(self._backoff.after_run(uptime), error=error)

    def _note_exit(self, how: Exit) -> None:
        self._child = None
        super()._note_exit(how)

    def _fail(self, error: SourceError) -> None:
        """Park until someone deletes it."""
        state = failure_state(error)
        if self.state is State.STOPPING or state in TRANSITIONS[self.state]:
            self._enter(state, error=str(error))
        else:  # Who raised it knows no better: an embedder's fetcher that has no Procfile.
            self._report_internal_error(error)

    def _report_internal_error(self, error: Exception) -> None:
        logger.error("process failed", exc_info=error, extra={"slug": self.slug})
        told = f"internal error ({type(error).__name__}), see the agent's log"
        self._back_off(self._backoff.after_failure(), error=told)

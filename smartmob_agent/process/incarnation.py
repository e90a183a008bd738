"""One version of a process: its files, its port and its children, one after the other.

A process has one; while it is being replaced, two.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import attrs
import trio

from smartmob_agent.child.seam import Child, Command, Exit
from smartmob_agent.errors import SourceError, TransientError
from smartmob_agent.output.batch import Origin, Stream
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.output.pump import pump_all
from smartmob_agent.process.backoff import Backoff
from smartmob_agent.process.lifecycle import ProcessLifecycle
from smartmob_agent.process.network import Notifications
from smartmob_agent.process.policies import (
    DEFAULT_READINESS,
    PORT_READINESS,
    Readiness,
    RestartPolicy,
)
from smartmob_agent.process.ports import PortLease
from smartmob_agent.process.preparation import failure_state
from smartmob_agent.process.readiness import ReadinessProbe
from smartmob_agent.process.spec import Services
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

__all__ = ["Incarnation", "ReplaceTrial"]

logger = logging.getLogger(__name__)

_PORT_NUMBER = re.compile("[0-9]{1,5}")
_ASKED = "it is started again because someone asked for it"


class ReplaceTrial(Protocol):
    """What an incarnation goes through before it may take the place of another."""

    async def make_way(self) -> None:
        """Its files are there: end the other child, if only one may run, and share its seat."""
        ...

    def begin(self) -> None:
        """It has the seat, and starts its child."""
        ...

    async def take_over(self) -> None:
        """The child is ready: take the place and end the trial, or stop if that cannot be kept.

        If cancelled: waits for the answer of the disk all the same, 10 s at most.
        """
        ...


@attrs.define(eq=False, kw_only=True)
class Incarnation(ProcessLifecycle):
    """Prepares files once, and starts children in them until it is stopped.

    seat: who holds it may have a child.  Only where a version may not run beside another do two
        share one.
    stop_all: stops the process that it belongs to, when it is cancelled from outside.
    save: keeps what has changed; it may raise `TransientError` when a child must not be started.
    trial: what it is on until it takes the place of another; one that fails does not try again.
    is_interrupted: it may run once, and nobody knows how far it came in an earlier life.
    has_finished: it did run once, in an earlier life.
    ended: nothing is left of it.
    """

    console: Console
    _services: Services
    _backoff: Backoff
    _termination: Termination
    lease: PortLease
    seat: trio.Lock = attrs.field(factory=trio.Lock)
    _stop_all: Callable[[ConsoleEnd], None]
    _save: Callable[[Incarnation, bool], Awaitable[None]]
    trial: ReplaceTrial | None = None
    is_interrupted: bool = False
    has_finished: bool = False
    ended: trio.Event = attrs.field(factory=trio.Event)
    pids: set[int] = attrs.field(factory=set)
    """Of its children while it is on trial."""
    gives_way: bool = False
    """Its next child is to end as soon as it was started."""
    _told: str = _ASKED
    """Of the end of a child that was asked for."""
    _is_retired: bool = False
    _child: Child | None = None
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _turn: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _pause: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def wait_no_longer(self) -> None:
        """Wait no longer for what not even SIGKILL ends."""
        self._termination.wait_no_longer()

    def kill_at_once(self) -> None:
        """Kill the tree at once, now or when it is stopped."""
        self._termination.kill_at_once()

    def stop(self) -> None:
        """Begin to end, and return at once.  Safe in every state, and again."""
        if self.state not in (State.STOPPING, State.GONE):
            self.ready = False
            self._enter(State.STOPPING)
            self._scope.cancel(reason="the process is to stop")

    def retire(self) -> None:
        """Start no other child from now on; end at once where there is none."""
        self._is_retired = True
        if self._child is None:
            self.stop()

    def restart(self, error: str = _ASKED) -> None:
        """See `ManagedProcess.restart`.

        error: what is told of the end of a child that runs.
        """
        if self.state in ENDS - REPEATABLE:
            raise WrongStateError("that can be started again", self.state)
        self._backoff.reset()
        if self.state in REPEATABLE:
            self._back_off(0.0, error="it is tried again because someone asked for it")
            self._pause.cancel(reason="the process is to be tried again")
        elif self.state is State.RUNNING:
            self._become_unready()
            self._told = error
            self._turn.cancel(reason="the process is to be started again")
        elif self.state is State.FINISHED:
            self._back_off(0.0, error=error)
            self._pause.cancel(reason="the process is to be started again")
        elif self.state is State.BACKOFF:
            self.next_start_at = self._put_off(0.0)
            self._pause.cancel(reason="the process is to be started now")

    def make_way(self) -> None:
        """End the child, since another version is to run in its place."""
        self.gives_way = True
        if self.state is State.RUNNING:
            self.restart("it makes way for another version")

    def send_signal(self, number: signal.Signals) -> None:
        """See `ManagedProcess.send_signal`."""
        if self._child is None:
            raise WrongStateError("with a child that runs", self.state)
        logger.info("signal", extra={"slug": self.slug, "signal": number.name})
        self._child.send_signal(number)

    async def run(self, begin: Callable[[], Awaitable[None]]) -> None:
        """Live until `stop`, or until a trial has failed; leave no file and no port.

        begin: is waited for first; it may call `stop`.

        If cancelled: does what `stop` does, and returns when nothing is left.
        """
        try:
            with self._scope:
                await begin()
                await self._live()
        finally:
            if self.trial is None and not self._is_retired:
                self._stop_all(ConsoleEnd.AGENT)
            with trio.move_on_after(REMOVE_TREE_TIMEOUT, shield=True):
                await self.files.remove()
            self.lease.close()
            self.ended.set()

    async def _live(self) -> None:
        command: Command | None = None
        if self.is_interrupted:
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
            if self._is_retired or self.trial is not None:
                return
            # A failure is final, unless someone asks for another try.
            until = math.inf if self.state in FAILURES else self._next_start
            with trio.CancelScope() as self._pause:
                await trio.sleep_until(until)

    async def _finish(self) -> None:
        """The child has ended, and nothing has put off the next one."""
        if not self._turn.cancel_called:
            await self._save(self, True)
        if self._turn.cancel_called:
            self._back_off(0.0, error=self._told)
        else:
            self._next_start = math.inf
            self._enter(State.FINISHED)

    async def _stay_finished(self) -> None:
        """Wait until someone wants another child of a process that is not started by itself."""
        error = (
            None
            if self.has_finished
            else "it was interrupted by the end of the agent, and runs once"
        )
        self._next_start = math.inf
        self._enter(State.FINISHED, error=error)
        with trio.CancelScope() as self._pause:
            await trio.sleep_until(self._next_start)

    async def _run_child(self, command: Command) -> None:
        if self.trial is not None:
            await self.trial.make_way()
        async with self.seat, contextlib.AsyncExitStack() as stack:
            if self.trial is not None:
                self.trial.begin()
            readiness = self._readiness_of(command)
            env = dict(command.env)
            if "PORT" not in env:
                self.port = await self.lease.secure()
            if self.port is not None:
                env = {"PORT": str(self.port), **env}
            text = env.get("PORT", "")
            await self._save(self, False)
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
                        if self.gives_way:
                            self.make_way()
                        nursery.start_soon(self._watch_readiness, probe, child.pid, watch)
                        how = await child.wait()
                        watch.cancel(reason="the child has ended")
                        self._exited(how, trio.current_time() - started)
                        await child.wait_settled()
                        self._report_stuck(child)
                        await child.wait_empty()
                except trio.Cancelled:
                    from_outside = not nursery.cancel_scope.cancel_called  # else a reader failed
                    if from_outside and self.state is not State.STOPPING:
                        self._stop_all(ConsoleEnd.AGENT)
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
                self._note("exited", child.pid, self.exit.record)
                self._note_end(self.exit)

    async def _watch_readiness(
        self, probe: ReadinessProbe, pid: int, scope: trio.CancelScope
    ) -> None:
        """Tell when the child is ready, or that it is late."""
        with scope:
            try:
                await probe.wait_ready(pid, self._report_late)
            except Exception:  # A child is not to end by a fault of who looks at it.
                logger.exception("readiness probe failed", extra={"slug": self.slug})
            else:
                if self.trial is not None:
                    await self.trial.take_over()
                self._become_ready()

    def _report_late(self, reason: str) -> None:
        """The child is not ready in time: it goes on, unless it is on trial."""
        super()._report_late(reason)
        if self.trial is not None:
            self.stop()

    async def _read_output(self, child: Child, scope: trio.CancelScope) -> None:
        pipes = {Stream.STDOUT: child.stdout, Stream.STDERR: child.stderr}
        writer = self.console.open_writer(Origin(pid=child.pid, release=self.spec.release))
        with scope:
            await pump_all(pipes, writer, self._services.config.output.line_bytes)

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
        if self.trial is not None:
            self.pids.add(child.pid)
        self._enter_running(child.pid)
        self._note("started", child.pid, {} if self.port is None else {"port": self.port})

    def _note(self, event: str, pid: int, fields: Mapping[str, object]) -> None:
        """Add what has happened to a child to the console."""
        origin = Origin(pid=pid, release=self.spec.release)
        self.console.publish_event(event, {**origin.fields, **fields})

    def _exited(self, how: Exit, uptime: float) -> None:
        """The child ended by itself: see to the next start."""
        if not self.ready:
            self.failures += 1
        self._note_exit(how)
        error = f"the child ended with {how} after {uptime:.1f} s{how.hint}"
        # Someone may have asked for a new child when this one had ended and nobody had noticed.
        if self._turn.cancel_called:
            self._back_off(0.0, error=error)
        elif self.trial is not None or self.spec.restart.restarts_after(how):
            self._back_off(self._backoff.after_run(uptime), error=error)

    def _note_end(self, how: Exit) -> None:
        """The last output of a child has come: see whether it has crashed."""
        if self.state is not State.STOPPING and self.is_shown:
            is_success = how.code == 0 and self.spec.restart is not RestartPolicy.ALWAYS
            self._note_crash(None if self._turn.cancel_called or is_success else how)

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

"""One app: its processes are brought to what is wanted, whenever that changes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import attrs
import trio

from smartmob_agent.apps.changes import end_rollout, is_rolling
from smartmob_agent.apps.record import AppRecord
from smartmob_agent.apps.rollout import (
    Cancel,
    Remove,
    Rollout,
    SetRelease,
    SlotCommand,
    SlotPlan,
    Watch,
)
from smartmob_agent.apps.stage import HOOK, StepFailedError, prepare_release, run_hook
from smartmob_agent.apps.wanted import (
    ENDED,
    AppState,
    Release,
    RolloutState,
    WantedRollout,
    slot_name,
)
from smartmob_agent.errors import RequestError, TransientError
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.replacement import ReplaceFailedError, Replacement, lines_of
from smartmob_agent.process.spec import ProcessSpec, Services
from smartmob_agent.process.states import State
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.source.cache.seam import HeldArchive

__all__ = ["ManagedApp", "Progress"]

logger = logging.getLogger(__name__)

_RETRY_DELAY = 5.0
"""Seconds until the end of a rollout is written again, or a process removed, if that failed."""

_AT_ONCE = 32
"""Processes that are removed at the same time."""


@attrs.frozen(kw_only=True)
class Progress:
    """How far a rollout is.

    step: what is under way, for a human.
    done, total: slots.
    """

    state: str
    step: str = ""
    done: int = 0
    total: int = 0


@attrs.frozen
class Slot:
    """Where a process of an app is.

    kind: its process type.
    """

    slug: str
    kind: str
    node: str


class ManagedApp:
    """An app, which outlives its releases.

    progress: of the latest rollout.
    gone: set when nothing is left of it.
    """

    def __init__(
        self,
        record: AppRecord,
        supervisor: Supervisor,
        services: Services,
        publish: Callable[[str, str, Mapping[str, object]], None],
    ) -> None:
        self._record = record
        self._supervisor = supervisor
        self._services = services
        self._publish = publish
        self._changed = trio.lowlevel.ParkingLot()
        self._turn = trio.CancelScope()
        self._is_settled = False
        self._is_over = False
        self._cleaners: trio.Nursery | None = None
        self._pinned: dict[str, HeldArchive] = {}
        self.progress = Progress(state=self.rollout.state)
        self.gone = trio.Event()

    @property
    def name(self) -> str:
        return self._record.state.name

    @property
    def state(self) -> AppState:
        """What is kept of it."""
        return self._record.state

    @property
    def rollout(self) -> WantedRollout:
        """The latest rollout: an app begins with one."""
        rollout = self._record.state.rollout
        assert rollout is not None  # noqa: S101  # See above.
        return rollout

    @property
    def slots(self) -> Iterator[Slot]:
        """What is wanted, type by type."""
        for kind, count in self.state.counts.items():
            for index in range(count):
                node = slot_name(kind, index)
                yield Slot(f"{self.name}.{node}", kind, node)

    @property
    def processes(self) -> list[ManagedProcess]:
        """Those that it has, in the order of their creation."""
        return [one for one in self._supervisor if one.spec.owner == self.name]

    async def change(self, change: Callable[[AppState], AppState]) -> int:
        """Want something else; return the version that is wanted when that is kept.

        change: gets what is wanted now; what it raises is raised here, and nothing changes.

        Raises `StateFullError`, `StateFailedError` and `BodyTooLargeError`: nothing has changed.

        If cancelled: waits for the answer of the disk all the same, 10 s at most.
        """
        before = self.rollout
        await self._record.change(change)
        if (after := self.rollout) is not before:
            if before.state not in ENDED:
                self._tell_release(before.release)
            self.progress = Progress(state=after.state)
            if not after.is_scale:
                self._tell_release(after.release)
        self._is_settled = False
        self._turn.cancel(reason="something else is wanted")
        self._changed.unpark_all()
        return self.state.version

    def begin(self) -> None:
        """Tell of the first release."""
        self._tell_release(self.state.wanted)

    async def wait_rollout(self, version: int) -> AppState:
        """Wait until the rollout that was under way at a version is over; return what is then.

        Returns, too, when the app is gone and when the agent stops.

        If cancelled: stops waiting; it goes on.
        """
        await trio.lowlevel.checkpoint()
        while not self._is_over:
            if self.rollout.version > version or not is_rolling(self.state):
                break
            await self._changed.park()
        return self.state

    async def run(self) -> None:
        """Bring the processes to what is wanted, again and again, until the app is deleted.

        If cancelled: leaves all as it is, for the next life of the agent.
        """
        try:
            async with trio.open_nursery() as self._cleaners:
                await self._pin()
                self._remove_hooks()
                while not self.state.is_deleted:
                    with trio.CancelScope() as self._turn:
                        await trio.lowlevel.checkpoint()
                        await self._settle()
                await self._remove_all()
                self._cleaners.cancel_scope.cancel(reason="the app is gone")
        finally:
            self._is_over = True
            self._changed.unpark_all()
            with trio.move_on_after(_RETRY_DELAY, shield=True):
                await trio.lowlevel.checkpoint()
                for held in self._pinned.values():
                    await held.release()
        self.gone.set()
        self._changed.unpark_all()

    def _remove_hooks(self) -> None:
        """Remove what an earlier life has left of a `release` command."""
        for process in self.processes:
            if process.spec.node.startswith(f"{HOOK}."):
                self.delete_later(process.slug)

    async def _settle(self) -> None:
        if self._is_settled:
            await trio.sleep_forever()
        if is_rolling(self.state):
            await self._roll()
        self._is_settled = True

    async def _roll(self) -> None:
        """One try of what is wanted: from the archive to the last slot."""
        version = self.state.version
        try:
            await self._stage(version)
        except StepFailedError as exc:
            step, lines = exc.step, exc.lines
            error = f"{step}: {exc}"
            if not self._is_mixed:
                await self._end(version, RolloutState.FAILED, error=error, step=step, lines=lines)
                return
            # What it superseded has touched slots already: they go back to what serves.
            note = partial(_note_failure, error=error, step=step, lines=lines)
            with contextlib.suppress(StepFailedError):
                await self._keep(version, note, step)
        await self._pin()
        rolling = _Rolling(app=self, supervisor=self._supervisor, record=self._record)
        outcome = await rolling.run()
        await self._end(version, outcome, error=rolling.trouble)

    @property
    def _is_mixed(self) -> bool:
        """Whether some slot has another release than the one to go back to."""
        return self.state.on_failure == "rollback" and any(
            process.spec.release != self.rollout.back_to
            for process in self.processes
            if not process.spec.node.startswith(f"{HOOK}.")
        )

    async def _stage(self, version: int) -> None:
        """Do all that comes before the slots, unless that was done before."""
        rollout = self.rollout
        if rollout.is_scale or rollout.is_going_back:
            await trio.lowlevel.checkpoint()
            return
        release = self.release(rollout.release)
        kinds = [kind for kind, count in self.state.counts.items() if count]
        if not self.state.has_counts:
            kinds = []
        elif not kinds:
            await trio.lowlevel.checkpoint()
            return
        staged = await prepare_release(self.name, release, kinds, self._services, self._enter)

        def found(state: AppState) -> AppState:
            counts = state.counts if state.has_counts else staged.formation
            release = state.release(rollout.release)
            assert release is not None  # noqa: S101  # One under way is kept.
            state = state.with_release(attrs.evolve(release, source_sha256=staged.sha256))
            return attrs.evolve(state, counts=dict(counts), has_counts=True)

        await self._keep(version, found, "fetching")
        if staged.has_hook and rollout.hook != "done":
            await self._run_hook(version)

    async def _run_hook(self, version: int) -> None:
        rollout = self.rollout
        if rollout.hook == "begun":
            raise StepFailedError("releasing", "the release command was interrupted, and runs once")
        self._enter(RolloutState.RELEASING)
        await self._keep(version, partial(_note_hook, hook="begun"), "releasing")
        await run_hook(
            self.name,
            self.release(rollout.release),
            self._supervisor,
            timeout=self._services.config.release_timeout,
            delete=self.delete_later,
        )
        await self._keep(version, partial(_note_hook, hook="done"), "releasing")

    async def _keep(self, version: int, change: Callable[[AppState], AppState], step: str) -> None:
        try:
            await self._record.change(if_wanted(version, change))
        except RequestError as exc:
            raise StepFailedError(step, str(exc)) from exc

    def release(self, number: int) -> Release:
        """Return a release that is needed, and so is known."""
        release = self.state.release(number)
        assert release is not None  # noqa: S101  # Those that are needed are kept.
        return release

    def _enter(self, state: str) -> None:
        if self.progress.state != state:
            self.tell(Progress(state=state, step=state))

    def tell(self, progress: Progress) -> None:
        """Tell how far the rollout is, if that has changed."""
        if progress == self.progress:
            return
        self.progress = progress
        rollout = self.rollout
        fields = {"release": rollout.release, **attrs.asdict(progress), "error": rollout.error}
        self._publish("rollout", self.name, fields)
        self._changed.unpark_all()

    def _tell_release(self, number: int) -> None:
        fields = {"release": number, "outcome": self.release(number).outcome}
        self._publish("release", self.name, fields)

    async def _end(
        self,
        version: int,
        outcome: str,
        *,
        error: str | None = None,
        step: str | None = None,
        lines: tuple[str, ...] = (),
    ) -> None:
        """Keep how it has ended; a disk that is full now may have room later."""
        change = partial(
            end_rollout,
            outcome=outcome,
            now=self._services.now(),
            error=error,
            step=step,
            lines=lines,
        )
        while True:
            try:
                await self._record.change(if_wanted(version, change))
            except RequestError as exc:
                logger.warning("cannot keep", extra={"app": self.name, "error": str(exc)})
                await trio.sleep(_RETRY_DELAY)
            else:
                break
        # If something else is wanted by now, this is where it ends.
        await trio.lowlevel.checkpoint_if_cancelled()
        rollout, had = self.rollout, self.progress
        step = rollout.step or ""
        self.tell(Progress(state=outcome, step=step, done=had.done, total=had.total))
        if not rollout.is_scale:
            self._tell_release(rollout.release)
        logger.info(
            "rollout",
            extra={"app": self.name, "release": rollout.release, "outcome": outcome},
        )
        await self._pin()

    async def _pin(self) -> None:
        """Keep the archives in the cache without which nobody could go on or back."""
        state = self.state
        numbers = {state.serving, state.wanted, self.rollout.back_to}
        before = [
            one.number
            for one in state.releases
            if one.outcome == RolloutState.DONE and one.number != state.serving
        ]
        numbers.update(before[-1:])
        wanted = {one.source_sha256 for one in state.releases if one.number in numbers} - {None}
        for digest in set(self._pinned) - wanted:
            await self._pinned.pop(digest).release()
        for digest in sorted(one for one in wanted if one is not None):
            if digest not in self._pinned:
                with contextlib.suppress(TransientError):
                    held = await self._services.store.cache.find(digest)
                    if held is not None:
                        self._pinned[digest] = held

    def delete_later(self, slug: str) -> None:
        """Begin to remove a process, whatever becomes of the one who asks."""
        assert self._cleaners is not None  # noqa: S101  # Who asks is a part of `run`.
        self._cleaners.start_soon(self.delete_process, slug)

    async def delete_process(self, slug: str) -> None:
        """Remove a process, however often it takes."""
        while self._supervisor.find(slug) is not None:
            try:
                await self._supervisor.delete(slug)
            except RequestError as exc:
                logger.warning("cannot remove", extra={"slug": slug, "error": str(exc)})
                await trio.sleep(_RETRY_DELAY)

    async def _remove_all(self) -> None:
        """Leave nothing."""
        limiter = trio.CapacityLimiter(_AT_ONCE)

        async def remove(slug: str) -> None:
            async with limiter:
                await self.delete_process(slug)

        async with trio.open_nursery() as nursery:
            for process in reversed(self.processes):
                nursery.start_soon(remove, process.slug)
        while True:
            try:
                await self._record.remove()
            except RequestError as exc:
                logger.warning("cannot remove", extra={"app": self.name, "error": str(exc)})
                await trio.sleep(_RETRY_DELAY)
            else:
                break


def if_wanted(
    version: int, change: Callable[[AppState], AppState]
) -> Callable[[AppState], AppState]:
    """Return a change that happens only while nothing else is wanted than at a version."""
    return lambda state: change(state) if state.version == version else state


def _note_failure(state: AppState, error: str, step: str, lines: tuple[str, ...]) -> AppState:
    assert state.rollout is not None  # noqa: S101  # It is under way.
    rollout = attrs.evolve(state.rollout, is_going_back=True, error=error, step=step, lines=lines)
    return attrs.evolve(state, rollout=rollout)


def _note_hook(state: AppState, hook: str) -> AppState:
    assert state.rollout is not None  # noqa: S101  # It is under way.
    return attrs.evolve(state, rollout=attrs.evolve(state.rollout, hook=hook))


class _Rolling:
    """The driver of one `Rollout`.

    trouble: what went wrong on the way; None if nothing did.
    """

    def __init__(self, *, app: ManagedApp, supervisor: Supervisor, record: AppRecord) -> None:
        rollout = app.rollout
        self._app, self._supervisor, self._record = app, supervisor, record
        self._wanted, self._version = rollout, app.state.version
        self._slots = {slot.slug: slot for slot in app.slots}
        self._scopes: dict[str, list[trio.CancelScope]] = {}
        self._kicked = trio.lowlevel.ParkingLot()
        self._is_kicked = False
        self._step: str | None = None
        self._lines: tuple[str, ...] = ()
        self._is_kept = rollout.is_going_back
        state = app.state
        self._rollout = Rollout(
            [self._plan(slot) for slot in app.slots],
            parallel=state.parallel,
            on_failure="halt" if rollout.is_scale else state.on_failure,
            can_go_back=rollout.back_to is not None,
            is_going_back=rollout.is_going_back,
        )

    def _plan(self, slot: Slot) -> SlotPlan:
        process = self._supervisor.find(slot.slug)
        is_there = (
            process is not None
            and process.spec.owner == self._app.name
            and process.state not in (State.STOPPING, State.GONE)
        )
        release = process.spec.release if process is not None and is_there else None
        return SlotPlan(
            slug=slot.slug,
            kind=slot.kind,
            is_there=is_there,
            is_good=self._wanted.is_scale and release == self._wanted.release,
            is_back=is_there and release == self._wanted.back_to,
        )

    @property
    def trouble(self) -> str | None:
        rollout = self._rollout
        first = [] if rollout.reason is None else [f"{rollout.slug}: {rollout.reason}"]
        if self._wanted.error is not None and not first:
            first = [self._wanted.error]
        return "; ".join([*first, *rollout.troubles]) or None

    async def run(self) -> str:
        """Return the outcome.

        If cancelled: what is under way is called off.
        """
        rollout = self._rollout
        async with trio.open_nursery() as outer:
            for slug in self._surplus():
                outer.start_soon(self._app.delete_process, slug)
            async with trio.open_nursery() as nursery:
                try:
                    while True:
                        await self._keep_failure()
                        for command in rollout.take():
                            self._begin(command, nursery)
                        self._tell()
                        if rollout.outcome is not None:
                            break
                        await self._wait()
                finally:
                    for slug in tuple(rollout):
                        self._call_off(slug)
                    nursery.cancel_scope.cancel(reason="the rollout is over")
        return rollout.outcome

    def _surplus(self) -> list[str]:
        """Processes that are not wanted, those with the highest numbers first."""
        hook = f"{self._app.name}.{HOOK}."
        found = [
            one.slug
            for one in self._app.processes
            if one.slug not in self._slots and not one.slug.startswith(hook)
        ]
        return sorted(found, key=_number_of, reverse=True)

    def _tell(self) -> None:
        rollout = self._rollout
        state = RolloutState.ROLLING if rollout.is_rolling else RolloutState.WATCHING
        under_way = ", ".join(rollout)
        step = f"going back: {under_way}" if rollout.is_going_back else under_way
        self._app.tell(Progress(state=state, step=step, done=rollout.done, total=rollout.total))

    async def _wait(self) -> None:
        if not self._is_kicked:
            await self._kicked.park()
        else:
            await trio.lowlevel.checkpoint()
        self._is_kicked = False

    def _kick(self) -> None:
        self._is_kicked = True
        self._kicked.unpark_all()

    async def _keep_failure(self) -> None:
        """Keep that it goes back, before it does: so a crash changes nothing of that."""
        rollout = self._rollout
        if self._is_kept or rollout.reason is None:
            return
        self._is_kept = True

        def failed(state: AppState) -> AppState:
            assert state.rollout is not None  # noqa: S101  # It is under way.
            return attrs.evolve(
                state,
                rollout=attrs.evolve(
                    state.rollout,
                    is_going_back=rollout.is_going_back,
                    error=f"{rollout.slug}: {rollout.reason}",
                    slug=rollout.slug,
                    step=self._step,
                    lines=self._lines,
                ),
            )

        try:
            await self._record.change(if_wanted(self._version, failed))
        except RequestError as exc:
            logger.warning("cannot keep", extra={"app": self._app.name, "error": str(exc)})

    def _begin(self, command: SlotCommand, nursery: trio.Nursery) -> None:
        slot = self._slots[command.slug]
        if isinstance(command, Cancel):
            self._cancel(slot)
            return
        scope = trio.CancelScope()
        if isinstance(command, Watch):
            job = partial(self._watch, slot)
        else:
            for old in self._scopes.pop(slot.slug, ()):
                old.cancel(reason="the slot is to have another release")
            job = partial(self._change, slot, command)
        self._scopes.setdefault(slot.slug, []).append(scope)
        nursery.start_soon(self._run, scope, job, name=f"slot {slot.slug}")

    @staticmethod
    async def _run(scope: trio.CancelScope, job: Callable[[], object]) -> None:
        with scope:
            await job()  # type: ignore[misc]

    def _call_off(self, slug: str) -> bool:
        """Call off a replacement that is under way; return whether there is one."""
        process = self._supervisor.find(slug)
        attempt = None if process is None else process.replacing
        if process is None or attempt is None or attempt.has_ended or attempt.has_switched:
            return False
        process.cancel_replace()
        return True

    def _cancel(self, slot: Slot) -> None:
        if not self._call_off(slot.slug):
            for scope in self._scopes.pop(slot.slug, ()):
                scope.cancel(reason="the rollout has failed")
            self._rollout.note_cancelled(slot.slug)
            self._kick()

    async def _change(self, slot: Slot, command: SetRelease | Remove) -> None:
        rollout = self._rollout
        try:
            if isinstance(command, Remove):
                await self._app.delete_process(slot.slug)
                rollout.note_removed(slot.slug)
            else:
                await self._bring(slot, self._spec(slot, back=command.back))
                rollout.note_changed(slot.slug)
        except StepFailedError as exc:
            self._fail(slot, str(exc), exc.step, exc.lines)
        except RequestError as exc:
            self._fail(slot, str(exc), "starting", ())
        self._kick()

    def _fail(self, slot: Slot, reason: str, step: str, lines: tuple[str, ...]) -> None:
        if self._rollout.reason is None:
            self._step, self._lines = f"{slot.slug}: {step}", lines
        self._rollout.note_failed(slot.slug, reason)
        self._kick()

    def _spec(self, slot: Slot, *, back: bool) -> ProcessSpec:
        wanted = self._wanted
        number = wanted.back_to if back and wanted.back_to is not None else wanted.release
        return self._app.release(number).spec(self._app.name, slot.kind, slot.node)

    async def _bring(self, slot: Slot, spec: ProcessSpec) -> None:
        """Give a slot a release; tell when it has it."""
        # Processes may have ended already, with the agent: they come back with its next life.
        await trio.lowlevel.checkpoint_if_cancelled()
        process = self._supervisor.find(slot.slug)
        if process is not None and process.state in (State.STOPPING, State.GONE):
            await process.wait_state(State.GONE)
            process = None
        if process is None:
            process = self._supervisor.create(spec)
            await process.wait_kept()
        if process.spec.owner != self._app.name:
            raise StepFailedError("starting", f"the slug {slot.slug!r} is in use")
        if process.spec.release == spec.release:
            await _verify(process)
            self._switched(slot)
            return
        await self._replace(slot, spec)

    async def _replace(self, slot: Slot, spec: ProcessSpec) -> None:
        wish = Replacement(spec=spec, drain=self._app.state.drain, lasts=False)
        attempt = self._supervisor.replace(slot.slug, wish)
        try:
            await attempt.wait_switched()
        except ReplaceFailedError as exc:
            raise StepFailedError(exc.step, exc.reason, exc.lines) from exc
        self._switched(slot)
        await attempt.wait()

    def _switched(self, slot: Slot) -> None:
        self._rollout.note_switched(slot.slug)
        self._kick()

    async def _watch(self, slot: Slot) -> None:
        process = self._supervisor.find(slot.slug)
        if process is not None and process.state is State.RUNNING:
            with trio.move_on_after(self._app.state.watch):
                await process.wait_pid_other(process.pid)
                reason = process.error or "its child has ended"
                told = f"it ended while it was watched: {reason}"
                self._fail(slot, told, "watching", tuple(lines_of(process.console)))
                return
        self._rollout.note_passed(slot.slug)
        self._kick()


async def _verify(process: ManagedProcess) -> None:
    """See whether a process that begins with the release comes up."""
    reason = await process.wait_verdict()
    if reason is not None:
        raise StepFailedError("waiting", reason, lines_of(process.console))


def _number_of(slug: str) -> tuple[int, str]:
    last = slug.rpartition(".")[2]
    return (int(last) if last.isdecimal() else -1), slug

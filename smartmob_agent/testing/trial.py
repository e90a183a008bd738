"""One run of a scenario: on a virtual clock, in a known order, cancelled at a known checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterator, Sequence
from typing import Protocol

import attrs
import trio
import trio.testing

from smartmob_agent.bounded import call_without_threads
from smartmob_agent.testing.scheduling import (
    all_tasks,
    lift_shields,
    place_of,
    seeded_scheduler,
)

__all__ = ["Scenario", "StuckError", "Trial", "run_trial"]


class StuckError(AssertionError):
    """A scenario that did not end: nothing happened any more, or tasks were left.

    tasks: where each of them waits.
    """

    def __init__(self, message: str, tasks: Sequence[str]) -> None:
        super().__init__("\n  ".join((message, *tasks)))
        self.tasks = tasks


@attrs.define(eq=False, kw_only=True)
class Trial:
    """What a scenario knows of its run.

    seed: decides the order in which tasks that are ready are scheduled.
    checkpoint: number of the checkpoint at which the subject is cancelled, from 1; None for never.
    checkpoints: how many the subject has had.
    steps: names of the tasks in the order in which they were scheduled.
    cancelled_at: the virtual second at which the subject was cancelled; None if it was not.
    place: description of the checkpoint at which the subject was cancelled.
    """

    seed: int = 0
    checkpoint: int | None = None
    checkpoints: int = 0
    steps: list[str] = attrs.field(factory=list)
    cancelled_at: float | None = None
    place: str = ""
    _scope: trio.CancelScope | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the subject was cancelled, in time or too late to notice."""
        return self.cancelled_at is not None

    @contextlib.contextmanager
    def subject(self) -> Iterator[trio.CancelScope]:
        """Mark the block to be cancelled, which `trio.Cancelled` does not leave.

        Each moment from its first step to its last at which something else in the program could
        cancel it is a checkpoint: there is one after each step of any task, and one whenever
        time has passed.
        """
        with trio.CancelScope() as scope:
            self._scope = scope
            try:
                yield scope
            finally:
                self._scope = None

    def pass_checkpoint(self, task: trio.lowlevel.Task) -> None:
        """Count a checkpoint, and cancel the subject if it is the one."""
        if self._scope is None:
            return
        self.checkpoints += 1
        if self.checkpoints == self.checkpoint:
            self.cancelled_at = trio.current_time()
            self.place = f"after a step of {place_of(task)}"
            self._scope.cancel(reason=f"checkpoint {self.checkpoint}")

    def __str__(self) -> str:
        when = "not cancelled"
        if self.checkpoint is not None:
            place = self.place or "which it did not reach"
            when = f"cancelled at checkpoint {self.checkpoint}, {place}"
        return f"seed {self.seed}, {when}"


class Scenario(Protocol):
    """An async function that does something, marks its subject, and checks what must hold."""

    def __call__(self, trial: Trial, /) -> Awaitable[None]:
        """Run once; `trial` cancels the subject."""
        ...


class _Steps(trio.abc.Instrument):
    """Reports each moment between two steps to a trial."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._waited = False

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002  # trio's signature
        self._waited = True

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._waited:  # Deadlines have expired since the last step.
            self._waited = False
            self._trial.pass_checkpoint(task)
        self._trial.steps.append(task.name)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._trial.pass_checkpoint(task)


def run_trial(
    scenario: Scenario,
    *,
    seed: int = 0,
    checkpoint: int | None = None,
    time_limit: float = 30 * 86400.0,
) -> Trial:
    """Run a scenario once, on a virtual clock that starts at 0; return its trial.

    time_limit: virtual seconds, after which the scenario counts as stuck.

    Raises the exception of the scenario, with a note on how to run the same trial again, and
    `StuckError` when the scenario does not end or leaves tasks.
    """
    trial = Trial(seed=seed, checkpoint=checkpoint)
    clock = trio.testing.MockClock(autojump_threshold=0)
    try:
        with seeded_scheduler(seed):
            trio.run(_run, scenario, trial, time_limit, clock=clock, instruments=[_Steps(trial)])
    except BaseException as exc:
        exc.add_note(f"{trial}: run_trial(…, {seed=}, {checkpoint=}) does it again")
        raise
    return trial


async def _run(scenario: Scenario, trial: Trial, time_limit: float) -> None:
    call_without_threads()
    system = set(all_tasks()) - {trio.lowlevel.current_task()}
    stuck: list[str] = []
    with trio.CancelScope() as everything:

        async def watch() -> None:
            """End a scenario that does not end, whatever it shields."""
            await trio.sleep(time_limit)
            for task in set(all_tasks()) - system:
                stuck.append(place_of(task))
                lift_shields(task)
            everything.cancel(reason="stuck")

        system.add(trio.lowlevel.spawn_system_task(watch))
        await scenario(trial)
        left = set(all_tasks()) - system - {trio.lowlevel.current_task()}
    if stuck:
        raise StuckError(f"nothing more happens in {time_limit} virtual seconds:", stuck)
    if left:
        raise StuckError("tasks are left:", list(map(place_of, left)))

"""Cancel a scenario at each of its checkpoints, once, and check what is left.

::

    async def deletion(trial: Trial) -> None:
        async with open_supervisor() as supervisor:
            process = supervisor.create(spec)
            with trial.subject():
                await supervisor.delete(process.slug)
            ...  # check what holds, whether `trial.cancelled` or not

    def test_a_delete_can_be_cancelled_anywhere() -> None:
        cancel_at_every_checkpoint(deletion)
"""

from __future__ import annotations

import random

from smartmob_agent.testing.trial import Scenario, run_trial

__all__ = ["cancel_at_every_checkpoint", "explore_schedules"]


def cancel_at_every_checkpoint(scenario: Scenario, *, seed: int = 0) -> int:
    """Run a scenario to count its checkpoints, then cancel it at each; return their number.

    A plain function for a plain test: each run is a `trio.run` of its own, on a virtual clock.

    Raises the exception of the first trial that fails, with a note on how to run it again, and
    `AssertionError` when the scenario has no subject or is not the same each time.
    """
    total = run_trial(scenario, seed=seed).checkpoints
    assert total, "expected a scenario with a subject"  # noqa: S101  # this is for tests
    for checkpoint in range(1, total + 1):
        trial = run_trial(scenario, seed=seed, checkpoint=checkpoint)
        assert trial.cancelled, f"not the same scenario each time: {trial}"  # noqa: S101  # the same
    return total


def explore_schedules(scenario: Scenario, *, orders: int = 500, first_seed: int = 0) -> int:
    """Run a scenario in many orders of its tasks; return how many of them differed.

    Every second one is also cancelled, at a random checkpoint.  The seed decides all of that.

    orders: how many seeds to try, from `first_seed` on.

    Raises the exception of the first trial that fails, with a note that says how to run it
    again.
    """
    total = run_trial(scenario).checkpoints
    seen: set[int] = set()
    for seed in range(first_seed, first_seed + orders):
        checkpoint = None
        if seed % 2:
            checkpoint = random.Random(seed).randint(1, max(total, 1))  # noqa: S311  # no secret
        trial = run_trial(scenario, seed=seed, checkpoint=checkpoint)
        seen.add(hash(tuple(trial.steps)))
    return len(seen)

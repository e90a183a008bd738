"""One run of a scenario: its order, its checkpoints, its end."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from smartmob_agent.testing.trial import StuckError, Trial, run_trial


async def race(trial: Trial) -> None:
    """Ten tasks that are ready at once."""
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(trio.lowlevel.checkpoint, name=str(number))


def order_of(seed: int) -> list[str]:
    return [name for name in run_trial(race, seed=seed).steps if name.isdigit()]


def test_a_seed_decides_the_order_of_tasks() -> None:
    assert order_of(1) == order_of(1) != order_of(2)


def test_the_order_is_nobody_elses_business() -> None:
    """What runs later in the same program is as random as before."""
    state = trio._core._run._r.getstate()
    run_trial(race)
    assert trio._core._run._r.getstate() == state


def test_time_is_virtual_and_begins_at_0() -> None:
    times = []

    async def wait(_: Trial) -> None:
        times.append(trio.current_time())
        await trio.sleep(3600)
        times.append(trio.current_time())

    run_trial(wait)
    assert times == [0, 3600]


def test_only_the_subject_has_checkpoints() -> None:
    async def outside(_: Trial) -> None:
        await trio.sleep(1)

    assert run_trial(outside).checkpoints == 0


def test_a_sleep_can_be_cancelled_before_while_and_after_it_waits() -> None:
    """After: it is over, the task does not know yet, and the next checkpoint raises."""

    async def sleep(trial: Trial) -> None:
        reached = False
        with trial.subject() as scope:
            await trio.sleep(2)
            reached = True
            await trio.lowlevel.checkpoint()
        ends[trial.cancelled_at, trio.current_time(), reached, scope.cancelled_caught] = None

    ends: dict[object, None] = {}
    total = run_trial(sleep).checkpoints
    for checkpoint in range(1, total + 1):
        run_trial(sleep, checkpoint=checkpoint)
    assert list(ends) == [
        (None, 2, True, False),
        (0, 0, False, True),
        (2, 2, False, True),
        (2, 2, True, True),
    ]


def test_what_fails_says_how_to_see_it_again() -> None:
    async def fail(trial: Trial) -> None:
        with trial.subject():
            await trio.sleep(1)
        assert not trial.cancelled

    with pytest.raises(AssertionError) as caught:
        run_trial(fail, seed=7, checkpoint=1)
    [note] = caught.value.__notes__
    assert note.startswith("seed 7, cancelled at checkpoint 1, after a step of task ")
    assert note.endswith("run_trial(…, seed=7, checkpoint=1) does it again")
    assert f"{__file__}:" in note


def test_what_fails_without_being_cancelled_says_so() -> None:
    async def fail(_: Trial) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        run_trial(fail)
    assert caught.value.__notes__[0].startswith("seed 0, not cancelled: ")


@pytest.mark.parametrize("shield", [False, True])
def test_what_never_ends_is_found_even_behind_a_shield(shield: bool) -> None:
    async def wait(_: Trial) -> None:
        with trio.CancelScope(shield=shield):
            await trio.Event().wait()

    with pytest.raises(StuckError, match=r"nothing more happens in 60 virtual seconds") as caught:
        run_trial(wait, time_limit=60)
    [task] = caught.value.tasks
    assert f"at {__file__}:" in task


def test_what_passes_over_its_cancellation_is_stuck() -> None:
    async def deaf(trial: Trial) -> None:
        with trial.subject():
            try:
                await trio.sleep(1)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep_forever()

    with pytest.raises(StuckError):
        run_trial(deaf, checkpoint=1, time_limit=60)


def test_a_task_that_is_left_is_found() -> None:
    async def leave(_: Trial) -> None:
        trio.lowlevel.spawn_system_task(trio.sleep_forever, name="left")

    with pytest.raises(StuckError, match="tasks are left:\n  task 'left' at its end"):
        run_trial(leave)

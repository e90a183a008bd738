"""Every checkpoint is tried, and so are many orders."""

from __future__ import annotations

import itertools

import pytest
import trio

from smartmob_agent.testing.checkpoints import cancel_at_every_checkpoint, explore_schedules
from smartmob_agent.testing.trial import Trial


async def test_it_needs_no_trio_and_says_so() -> None:
    """Each trial is a `trio.run`: inside of another one it is refused."""
    with pytest.raises(RuntimeError, match="inside"):
        cancel_at_every_checkpoint(two_sleeps)


async def two_sleeps(trial: Trial) -> None:
    with trial.subject():
        await trio.sleep(1)
        await trio.sleep(1)


def test_each_checkpoint_is_tried_once() -> None:
    tried = []

    async def scenario(trial: Trial) -> None:
        tried.append(trial.checkpoint)
        await two_sleeps(trial)

    total = cancel_at_every_checkpoint(scenario)
    assert tried == [None, *range(1, total + 1)]


def test_a_mistake_at_one_checkpoint_is_found() -> None:
    """A lock that stays locked if its holder is cancelled in the wrong moment."""

    async def scenario(trial: Trial) -> None:
        lock = trio.Lock()
        with trial.subject():
            await lock.acquire()
            await trio.lowlevel.checkpoint()
            lock.release()
        assert not lock.locked()

    with pytest.raises(AssertionError) as caught:
        cancel_at_every_checkpoint(scenario)
    assert "cancelled at checkpoint" in caught.value.__notes__[0]


def test_a_scenario_without_a_subject_is_a_mistake() -> None:
    async def scenario(_: Trial) -> None:
        await trio.sleep(1)

    with pytest.raises(AssertionError, match="expected a scenario with a subject"):
        cancel_at_every_checkpoint(scenario)


def test_a_scenario_that_is_another_one_each_time_is_a_mistake() -> None:
    lengths = itertools.chain([3], itertools.repeat(1))

    async def scenario(trial: Trial) -> None:
        with trial.subject():
            for _ in range(next(lengths)):
                await trio.sleep(1)

    with pytest.raises(AssertionError, match="not the same scenario each time: seed 0, "):
        cancel_at_every_checkpoint(scenario)


def test_a_mistake_in_one_order_is_found_and_its_seed_is_told() -> None:
    """Of two tasks that are ready, the one that was started later is taken first."""

    async def scenario(_: Trial) -> None:
        order: list[str] = []

        async def note(name: str) -> None:
            order.append(name)

        async with trio.open_nursery() as nursery:
            for name in "abcde":
                nursery.start_soon(note, name)
        assert order != list("edcba")

    with pytest.raises(AssertionError) as caught:
        explore_schedules(scenario, orders=2000)
    assert caught.value.__notes__[0].startswith("seed ")


def test_orders_that_differ_are_counted_and_every_second_one_is_cancelled() -> None:
    cancelled = []

    async def scenario(trial: Trial) -> None:
        with trial.subject():
            async with trio.open_nursery() as nursery:
                for name in "abc":
                    nursery.start_soon(trio.sleep, 1, name=name)
        cancelled.append(trial.cancelled)

    different = explore_schedules(scenario, orders=100)
    assert different > 20
    assert sum(cancelled) == 50


def test_seeds_may_begin_anywhere() -> None:
    seeds = []

    async def scenario(trial: Trial) -> None:
        seeds.append(trial.seed)

    explore_schedules(scenario, orders=3, first_seed=40)
    assert seeds == [0, 40, 41, 42]

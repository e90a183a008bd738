"""The rate of starts: never above the limit in any second, and fair."""

from __future__ import annotations

import itertools
from collections import Counter

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import AgentConfig, RestartDelays
from smartmob_agent.process.start_rate import PacedSpawner, StartRate
from smartmob_agent.process.supervisor import Supervisor
from tests.process.world import World, make_spec, settle

Clock = trio.testing.MockClock


async def times_of(rate: StartRate, count: int) -> list[float]:
    times = []
    for _ in range(count):
        async with rate.turn():
            times.append(trio.current_time())
    return times


async def test_so_many_start_at_once_and_the_next_a_second_later(autojump_clock: Clock) -> None:
    assert await times_of(StartRate(3), 8) == [0, 0, 0, 1, 1, 1, 2, 2]


async def test_no_second_has_more_wherever_it_begins(autojump_clock: Clock) -> None:
    """A burst behind a pause does not come on top of the one before it."""
    rate = StartRate(4)
    times = await times_of(rate, 1)
    await trio.sleep(0.75)
    times += await times_of(rate, 10)
    assert times == [0, 0.75, 0.75, 0.75, 1, 1.75, 1.75, 1.75, 2, 2.75, 2.75]
    assert max(sum(t <= other < t + 1 for other in times) for t in times) == 4


@pytest.mark.parametrize(("most", "times"), [(0.5, [0, 2, 4]), (2.5, [0, 0, 0.8]), (0, [0, 0, 0])])
async def test_a_rate_need_not_be_a_whole_number(
    autojump_clock: Clock, most: float, times: list[float]
) -> None:
    assert await times_of(StartRate(most), 3) == times


async def test_whoever_crashes_most_waits_behind_all_others(autojump_clock: Clock) -> None:
    """One that is always back at once gets no more turns than the others who wait."""
    rate, turns = StartRate(10), Counter[int]()

    async def crash(number: int) -> None:
        while True:
            async with rate.turn():
                turns[number] += 1

    with trio.move_on_after(59.5):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(crash, number)
    assert set(turns.values()) == {30}


async def test_who_leaves_gives_its_turn_to_the_next(autojump_clock: Clock) -> None:
    rate, ends = StartRate(1), []
    await times_of(rate, 1)

    async def wait() -> None:
        ends.extend(await times_of(rate, 1))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            nursery.start_soon(wait)
            await times_of(rate, 1)
    assert ends == [1]


async def test_a_start_that_takes_long_counts_until_it_is_over(autojump_clock: Clock) -> None:
    """So no second has more children in it, however long each took to come."""
    rate = StartRate(2)
    times: list[float] = []

    async def start() -> None:
        async with rate.turn():
            await trio.sleep(0.3 if len(times) == 0 else 2.0)
            times.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(start)
            await settle()
    assert times == [0.3, 0.3, 3.3, 3.3, 6.3, 6.3]


async def test_a_start_that_is_cancelled_counts_all_the_same(autojump_clock: Clock) -> None:
    """Its child may have come to life."""
    rate = StartRate(1)
    with trio.move_on_after(0.5):
        async with rate.turn():
            await trio.sleep_forever()
    assert await times_of(rate, 1) == [1.5]


async def test_a_crash_loop_of_a_day_is_exact(autojump_clock: Clock) -> None:
    """Delays of 1, 2, 4, … up to 60 seconds, each to the second, 24 hours long."""
    world, starts = World(), []
    async with world.open() as supervisor:
        supervisor.create(make_spec())
        with trio.move_on_after(86400):
            while True:
                child = await world.spawner.next_child()
                starts.append(trio.current_time())
                child.exit(1)
    delays = [1, 2, 4, 8, 16, 32, *[60] * 1438]
    assert starts == list(itertools.accumulate(delays, initial=0))[: len(starts)]
    assert len(starts) == 7 + 1438
    assert starts[-1] == 63 + 60 * 1438


async def test_many_crash_loops_together_stay_below_the_rate(autojump_clock: Clock) -> None:
    """200 of them without any delay: each starts as often as every other, and it is exact."""
    world, starts = World(config=AgentConfig(restart=RestartDelays(base_delay=0.001))), []
    spawner = PacedSpawner(world.spawner, StartRate(50))
    async with world.open_services() as services, trio.open_nursery() as nursery:
        supervisor = Supervisor(nursery, attrs.evolve(services, spawner=spawner))
        processes = [supervisor.create(make_spec(f"app{number}")) for number in range(200)]
        with trio.move_on_after(19.5):
            while True:
                child = await world.spawner.next_child()
                starts.append(trio.current_time())
                child.exit(1)
        assert {process.starts for process in processes} == {5}
        supervisor.close()
    assert starts == [float(number // 50) for number in range(1000)]
    assert spawner.containment == world.spawner.containment

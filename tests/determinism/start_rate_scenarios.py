"""Scenarios of children that wait for their turn to be started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import trio

from smartmob_agent.child.seam import Command
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.start_rate import PacedSpawner, StartRate
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeSpawner, Scenario, Trial
from tests.determinism.memory_agent import (
    check_consistent,
    check_ended,
    check_nothing_left,
    open_stage,
)
from tests.process.world import World, make_spec, settle

COMMAND = Command(argv=("app",), env={}, cwd=Path("/"))


async def crowd(trial: Trial) -> None:
    """Of those who wait for a turn of the agent one is deleted: the next has its turn at once."""
    world = World(config=AgentConfig(max_start_rate=0.5))
    processes: list[ManagedProcess] = []
    async with open_stage(world) as stage:
        with trial.subject():
            for app in "abc":
                processes.append(stage.supervisor.create(make_spec(app)))
                await settle()
            await stage.supervisor.delete(processes[1].slug)
        await trio.sleep(1)
        assert [one.starts for one in processes] == [1, 0, 0][: len(processes)]
        if len(processes) == 3 and not trial.cancelled:
            await processes[2].wait_state(State.RUNNING)
            assert trio.current_time() == 2
        check_consistent(world, stage.supervisor)
    assert trio.current_time() == (1 if trial.cancelled else 2)
    check_nothing_left(world)
    check_ended(*processes)


async def end_of_a_crowd(trial: Trial) -> None:
    """The agent ends while some wait for their turn: nobody waits for that any more."""
    world = World(config=AgentConfig(max_start_rate=0.5))
    processes: list[ManagedProcess] = []
    with trial.subject():
        async with open_stage(world) as stage:
            await trio.lowlevel.checkpoint()  # Else a closed agent may be the first to tell.
            processes += [stage.supervisor.create(make_spec(app)) for app in "abc"]
            await trio.sleep(3)
    at = 3 if trial.cancelled_at is None else trial.cancelled_at
    assert trio.current_time() == at
    assert len(world.spawner.children) in ({0, 1} if at == 0 else {1, 2} if at == 2 else {2})
    check_nothing_left(world)
    check_ended(*processes)


async def queue(trial: Trial) -> None:
    """Whoever leaves the queue, or its turn, holds up the others for no longer than is stated."""
    spawner, others = FakeSpawner(delay=0.5), []
    paced = PacedSpawner(spawner, StartRate(1))

    async def stay() -> None:
        await trio.sleep(0.25)
        await paced.spawn(COMMAND)
        others.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stay)
        with trial.subject():
            await paced.spawn(COMMAND)  # until 0.5
            await paced.spawn(COMMAND)  # from 3, a second after the end of the other one
    at = 3.5 if trial.cancelled_at is None else trial.cancelled_at
    [other] = others
    # At 0 it may have left before it had its turn.
    assert other == min(at, 0.5) + 1.5 or (at, other) == (0, 0.75)
    await paced.spawn(COMMAND)
    end = trio.current_time()
    assert end == max(at, other) + 1.5 or (at, end) == (3, 3.5)


TURNS: Mapping[str, Scenario] = {
    "crowd": crowd,
    "end of a crowd": end_of_a_crowd,
    "queue": queue,
}

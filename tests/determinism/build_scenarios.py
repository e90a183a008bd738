"""Scenarios of builds: one alone, one that is shared, and one that fails and is asked for again."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeBuilder, FakeSpawner, FakeWorkspaces, Scenario, Trial
from tests.determinism.memory_agent import check_consistent, check_ended, check_nothing_left
from tests.process.world import World, make_spec

STOP = AgentConfig().stop_timeout


async def build(trial: Trial) -> None:
    """Each step takes its time, and no child ends by SIGTERM: it is cancelled in each of them.

    Who builds is killed at once, who runs is asked first.
    """
    world = World(
        workspaces=FakeWorkspaces(delay=3, copy_delay=1),
        spawner=FakeSpawner(delay=2, obey=False),
        builders=[FakeBuilder(takes=None)],
    )
    with trial.subject():
        async with world.open() as supervisor:
            process = supervisor.create(make_spec())
            detect = await world.spawner.next_child()
            await trio.sleep(1)
            detect.exit(0)  # at 6
            child = await world.spawner.next_child()
            await trio.sleep(4)
            child.write(b"last words")
            child.exit(0)  # at 13
            await world.spawner.next_child()  # at 16
            await trio.sleep(1)
            await supervisor.delete(process.slug)
    at = trial.cancelled_at
    if at is None:
        assert trio.current_time() == 17 + STOP
    elif at < 16:
        assert trio.current_time() == at
    check_nothing_left(world)
    check_ended(process)


async def shared_build(trial: Trial) -> None:
    """Two want one build, one of them goes: the other gets it in time, once it is made.

    A third wants another one and goes: nobody waits for that.
    """
    world = World(
        workspaces=FakeWorkspaces(delay=1),
        spawner=FakeSpawner(obey=False),
        builders=[FakeBuilder()],
    )
    async with world.open() as supervisor:
        first, second = (supervisor.create(make_spec(app)) for app in "ab")
        third = supervisor.create(make_spec("c", env={"A": "1"}))
        await trio.sleep(3)
        assert {one.state for one in (first, second, third)} == {State.BUILDING}
        with trial.subject():
            await supervisor.delete(first.slug)
            await supervisor.delete(third.slug)
            assert trio.current_time() == 3
        assert first.state is third.state is State.GONE or trial.cancelled
        third.stop()
        await third.wait_state(State.GONE)
        [child] = [one for one in world.spawner.children if "A" not in one.command.env]
        await trio.sleep(1)
        child.exit(0)
        await second.wait_state(State.RUNNING)
        assert trio.current_time() == 4
        check_consistent(world, supervisor)
    check_nothing_left(world)
    check_ended(first, second, third)


async def giver_leaves(trial: Trial) -> None:
    """Two want one build, and who gives its files is deleted meanwhile, or the agent stops."""
    world = World(
        workspaces=FakeWorkspaces(copy_delay=2),
        spawner=FakeSpawner(obey=False),
        builders=[FakeBuilder()],
    )
    with trial.subject():
        async with world.open() as supervisor:
            first, second = (supervisor.create(make_spec(app)) for app in "ab")
            await trio.sleep(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(supervisor.delete, first.slug)
                nursery.start_soon(supervisor.delete, second.slug)
            third = supervisor.create(make_spec("c"))
            (await world.spawner.next_child()).exit(0)
            await third.wait_state(State.RUNNING)
            assert third.files.build is not None
            assert not third.files.build.cached
            await supervisor.delete(third.slug)
    check_nothing_left(world)


async def asked_again(trial: Trial) -> None:
    """A build fails and is asked for again."""
    world = World(spawner=FakeSpawner(obey=True), builders=[FakeBuilder()])
    with trial.subject():
        async with world.open() as supervisor:
            process = supervisor.create(make_spec())
            child = await world.spawner.next_child()
            child.write(b"no such package\n")
            child.exit(1)
            await process.wait_state(State.BUILD_FAILURE)
            await trio.sleep(1)
            process.restart()
            (await world.spawner.next_child()).exit(0)
            await process.wait_started(0)
            assert (process.starts, trio.current_time()) == (1, 1)
    check_nothing_left(world)
    check_ended(process, end=ConsoleEnd.AGENT)


BUILDS: Mapping[str, Scenario] = {
    "build": build,
    "shared build": shared_build,
    "giver leaves": giver_leaves,
    "build asked for again": asked_again,
}

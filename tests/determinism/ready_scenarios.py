"""Readiness, single runs and state that lasts, under cancellation and in every order."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from smartmob_agent.process.policies import Readiness, RestartPolicy
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeNetwork, FakeSpawner, FakeStore, Scenario, Trial
from tests.determinism.memory_agent import check_ended, check_nothing_left
from tests.process.world import World, make_spec


async def readiness(trial: Trial) -> None:
    """Whatever is asked of whom: a probe ends with its child, and nobody listens any more."""
    world = World(
        network=FakeNetwork(status=503, delay=2), spawner=FakeSpawner(delay=1, obey=False)
    )
    wishes = (
        Readiness(http="/", timeout=3, interval=1),
        Readiness(notify=True),
        Readiness(log="up"),
        Readiness(after=4),
    )
    with trial.subject():
        async with world.open() as supervisor:
            processes = [
                supervisor.create(make_spec(node=f"web.{number}", ready=wish))
                for number, wish in enumerate(wishes)
            ]
            for _ in wishes:
                (await world.spawner.next_child()).write(b"up\n")
            await trio.sleep(5)
            assert [one.ready for one in processes][2:] == [True, True]
            world.network.status = 200
            for one in world.network.notifications:
                one.say_ready()
            await processes[0].wait_ready()
            processes[0].restart()
            for process in processes[1:]:
                process.stop()
    check_nothing_left(world)
    assert world.network.under_way == 0
    assert all(one.closed for one in world.network.notifications)


async def run_once(trial: Trial) -> None:
    """It has finished, is wanted again, has finished again, and is deleted."""
    world = World(spawner=FakeSpawner(delay=1))
    with trial.subject():
        async with world.open() as supervisor:
            process = supervisor.create(make_spec(restart=RestartPolicy.NEVER))
            for runs in range(2):
                child = await world.spawner.next_child()
                await trio.sleep(1)
                child.exit(runs)
                await process.wait_state(State.FINISHED)
                assert process.exit is not None
                assert process.exit.code == runs
                if not runs:
                    process.restart()
            await trio.sleep(100)
            await supervisor.delete(process.slug)
    check_nothing_left(world)
    check_ended(process)


async def state(trial: Trial) -> None:
    """Two lives: what was acknowledged in the first one is what the second one has."""
    store = FakeStore()
    world = World(state=store, spawner=FakeSpawner(delay=1))
    kept, gone, asked = set[str](), set[str](), set[str]()
    with trial.subject():
        async with world.open() as supervisor:
            for number in range(3):
                spec = make_spec(node=f"web.{number}")
                asked.add(spec.slug)
                await supervisor.create(spec).wait_kept()
                kept.add(spec.slug)
            await supervisor.get("app.web.0").wait_ready()
            asked.remove("app.web.1")
            await supervisor.delete("app.web.1")
            gone.add("app.web.1")
    check_nothing_left(world)
    later = World(state=store)
    async with later.open() as supervisor:
        supervisor.restore((await store.read_all()).documents)
        found = {process.slug for process in supervisor}
        assert gone.isdisjoint(found)
        assert (kept & asked) - gone <= found <= asked | kept
        supervisor.close()
    check_nothing_left(later)


READY: Mapping[str, Scenario] = {"readiness": readiness, "run once": run_once, "state": state}

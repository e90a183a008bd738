"""Versions that take the place of others, under cancellation and in every order."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import trio

from smartmob_agent.errors import RequestError
from smartmob_agent.process.policies import Readiness
from smartmob_agent.process.replacement import Order, ReplaceAttempt, Replacement
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.testing import FakeSpawner, FakeStore, Scenario, Trial
from tests.determinism.memory_agent import check_ended, check_nothing_left
from tests.process.world import World, make_spec


def wish(release: int, order: Order) -> Replacement:
    spec = make_spec(release=release, ready=Readiness(after=1, timeout=3))
    return Replacement(spec=spec, order=order, drain=2)


async def ask(supervisor: Supervisor, release: int, order: Order) -> ReplaceAttempt:
    """Replace; whoever was cancelled, and finds the process stopping, asks for nothing more."""
    try:
        return supervisor.replace("app.web.0", wish(release, order))
    except RequestError:
        await trio.sleep_forever()


async def replaced(trial: Trial, *, order: Order) -> None:
    """One that fails, one that is called off by the next, which has the place in the end."""
    world = World(spawner=FakeSpawner(delay=1, obey=False))
    world.workspaces.delay = world.workspaces.remove_delay = 1
    with trial.subject():
        async with world.open() as supervisor:
            process = supervisor.create(make_spec(release=1))
            await process.wait_ready()
            first = await ask(supervisor, 2, order)
            while True:
                child = await world.spawner.next_child()
                if child.command.env["SMARTMOB_RELEASE"] == "2":
                    break
            child.exit(1)
            with suppress(RequestError):
                await first.wait()
            assert process.spec.release == 1
            second = await ask(supervisor, 3, order)
            await trio.sleep(2)
            third = await ask(supervisor, 4, order)
            for attempt in (second, third):
                with suppress(RequestError):
                    await attempt.wait()
            assert (process.spec.release, third.step) == (4, "done")
            assert len(world.spawner.living) == 1
            await supervisor.delete(process.slug)
    check_nothing_left(world)
    check_ended(process)


async def kept(trial: Trial) -> None:
    """What is kept is one version or the other, and the next life has that one, whole."""
    store = FakeStore()
    world = World(state=store)
    is_done = False
    with trial.subject():
        async with world.open() as supervisor:
            process = supervisor.create(make_spec(release=1))
            await process.wait_kept()
            attempt = await ask(supervisor, 2, "start-first")
            await attempt.wait()
            is_done = True
    check_nothing_left(world)
    again = World(state=store)
    async with again.open() as supervisor:
        supervisor.restore((await store.read_all()).documents)
        for process in supervisor:
            assert await process.wait_ready()
            assert process.spec.release == 2 or not is_done
            if process.replacing is not None:
                await process.replacing.wait()
                assert process.spec.release == 2
    check_nothing_left(again)


REPLACES: Mapping[str, Scenario] = {
    "replace, start first": partial(replaced, order="start-first"),
    "replace, stop first": partial(replaced, order="stop-first"),
    "replace that is kept": kept,
}

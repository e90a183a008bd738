"""Apps under cancellation and in every order: each life ends whole, and the next one goes on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import trio

from smartmob_agent.apps.changes import begin_rollback
from smartmob_agent.errors import RequestError
from smartmob_agent.testing import (
    FakeChild,
    FakeStore,
    FakeWorkspaces,
    Scenario,
    Trial,
)
from tests.apps.world import open_shop
from tests.determinism.memory_agent import check_nothing_left
from tests.process.world import EPOCH, World

ONE = {"web": 1}


def of_release(child: FakeChild, number: str) -> bool:
    env = child.command.env
    return env.get("SMARTMOB_RELEASE") == number and ".web." in env["SMARTMOB_SLUG"]


def world_of(store: FakeStore) -> World:
    files = FakeWorkspaces(procfile=b"web: serve\nrelease: migrate\n")
    return World(state=store, workspaces=files)


async def deployed(trial: Trial) -> None:
    """A first release, one that is bad, one that supersedes, and back again."""
    store = FakeStore()
    world = world_of(store)
    with trial.subject(), suppress(RequestError):
        async with open_shop(world) as shop, trio.open_nursery() as nursery:

            async def end_hooks() -> None:
                while True:
                    child = await world.spawner.next_child()
                    if ".release." in child.command.env["SMARTMOB_SLUG"]:
                        child.exit(0)

            nursery.start_soon(end_hooks)
            await shop.deploy_and_wait(1, ONE, watch=1, drain=1)
            wanted = await shop.deploy(2, watch=1, drain=1)
            while not any(  # noqa: ASYNC110  # The clock is virtual.
                of_release(child, "2") for child in world.spawner.living
            ):
                await trio.sleep(1)
            for child in world.spawner.living:
                if of_release(child, "2"):
                    child.exit(1)
            await shop.app.wait_rollout(wanted)
            await shop.deploy(3, watch=1, drain=1)
            await trio.sleep(2)
            back = partial(begin_rollback, to=1, now=EPOCH)
            _, wanted = await shop.apps.change("shop", back)
            state = await shop.app.wait_rollout(wanted)
            assert state.rollout is not None
            assert state.rollout.state == "done"
            nursery.cancel_scope.cancel()
    check_nothing_left(world)
    await live_again(store)


async def live_again(store: FakeStore) -> None:
    """What was acknowledged comes back, wholly of one release."""
    world = world_of(store)
    async with open_shop(world) as shop, trio.open_nursery() as nursery:

        async def end_hooks() -> None:
            while True:
                child = await world.spawner.next_child()
                if ".release." in child.command.env["SMARTMOB_SLUG"]:
                    child.exit(0)

        nursery.start_soon(end_hooks)
        if shop.apps.find("shop") is not None:
            state = await shop.app.wait_rollout(shop.app.state.version)
            for process in shop.supervisor:
                await process.wait_ready()
            assert state.rollout is not None
            assert state.rollout.ended_at is not None
            expected = [] if state.serving is None else [state.serving]
            assert [release for _, release in shop.running] == expected
            await shop.apps.delete("shop", lambda _: None)
        assert len(shop.supervisor) == 0
        nursery.cancel_scope.cancel()
    check_nothing_left(world)
    assert not (await store.read_all()).documents


APPS: Mapping[str, Scenario] = {"apps": deployed}

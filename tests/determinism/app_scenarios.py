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
    files = FakeWorkspaces(procfile=b"web: serve\n")
    return World(state=store, workspaces=files)


async def deployed(trial: Trial) -> None:
    """A first release, one that is bad, and the first one again."""
    store = FakeStore()
    world = world_of(store)
    with trial.subject(), suppress(RequestError):
        async with open_shop(world) as shop:
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
            back = partial(begin_rollback, to=1, now=EPOCH)
            _, wanted = await shop.apps.change("shop", back)
            state = await shop.app.wait_rollout(wanted)
            assert state.rollout is not None
            assert state.rollout.state == "done"
    check_nothing_left(world)
    await live_again(store)


async def live_again(store: FakeStore) -> None:
    """What was acknowledged comes back, wholly of one release."""
    world = world_of(store)
    async with open_shop(world) as shop:
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
    check_nothing_left(world)
    assert not (await store.read_all()).documents


APPS: Mapping[str, Scenario] = {"apps": deployed}

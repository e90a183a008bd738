"""Apps over a supervisor in a world of fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from smartmob_agent.apps.app import ManagedApp
from smartmob_agent.apps.changes import begin_release
from smartmob_agent.apps.registry import Apps
from smartmob_agent.apps.wanted import AppState, Release, TypeOptions
from smartmob_agent.process.policies import Readiness
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.testing import FakeStore
from tests.process.world import EPOCH, World

WEB = TypeOptions(ready=Readiness(after=2, timeout=5))


@asynccontextmanager
async def open_apps(supervisor: Supervisor) -> AsyncIterator[Apps]:
    """Have the apps of a supervisor; what they do ends with the block."""
    async with trio.open_nursery() as nursery:
        apps = Apps(nursery, supervisor, supervisor._services)
        try:
            yield apps
        finally:
            apps.close()


@attrs.frozen
class Shop:
    """A world with an app in it."""

    world: World
    supervisor: Supervisor
    apps: Apps

    @property
    def app(self) -> ManagedApp:
        return self.apps.get("shop")

    async def deploy(
        self, version: int = 1, counts: Mapping[str, int] | None = None, **changes: Any
    ) -> int:
        """Want a release; return the version."""
        _, wanted = await self.apps.put("shop", want(version, counts, **changes))
        return wanted

    async def deploy_and_wait(
        self, version: int = 1, counts: Mapping[str, int] | None = None, **changes: Any
    ) -> AppState:
        wanted = await self.deploy(version, counts, **changes)
        return await self.app.wait_rollout(wanted)

    @property
    def running(self) -> list[tuple[str, int | None]]:
        """Slug and release of each process that is ready."""
        return sorted((one.slug, one.spec.release) for one in self.supervisor if one.ready)


def want(version: int, counts: Mapping[str, int] | None = None, **changes: Any) -> Any:
    """A release whose archive is named by `version`."""
    env = changes.pop("env", {})
    release = Release(
        number=0,
        created_at=EPOCH,
        source_url=f"http://127.0.0.1/{version}.zip",
        env=env,
        types={"web": WEB, "worker": WEB},
    )

    def change(state: AppState) -> AppState:
        state = attrs.evolve(state, **{"watch": 10, "drain": 5, **changes})
        if counts is not None:
            state = attrs.evolve(state, counts=counts, has_counts=True)
        elif not state.last:
            state = attrs.evolve(state, counts={"web": 2}, has_counts=True)
        return begin_release(state, release, EPOCH)

    return change


@asynccontextmanager
async def open_shop(world: World | None = None) -> AsyncIterator[Shop]:
    """One life of an agent."""
    world = world or World()
    async with world.open() as supervisor, open_apps(supervisor) as apps:
        if world.state is not None:
            documents = (await world.state.read_all()).documents
            supervisor.restore(documents)
            apps.restore(documents)
        yield Shop(world, supervisor, apps)


def lasting() -> World:
    return World(state=FakeStore())


again = partial(World)

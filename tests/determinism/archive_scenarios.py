"""Scenarios of archives: downloads that are shared, and uploads."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from smartmob_agent.config.settings import AgentConfig, Cache
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeFetcher, Scenario, Trial
from tests.determinism.memory_agent import check_consistent, check_ended, check_nothing_left
from tests.process.world import World, make_spec


async def shared_download(trial: Trial) -> None:
    """Two want one archive, one of them goes: the other gets it in time.

    A third wants another one and goes: nobody waits for that.
    """
    world = World(fetcher=FakeFetcher(delay=4))
    async with world.open() as supervisor:
        first, second = (supervisor.create(make_spec(app)) for app in "ab")
        third = supervisor.create(make_spec("c", source_url="http://127.0.0.1/other.zip"))
        await trio.sleep(1)
        with trial.subject():
            await supervisor.delete(first.slug)
            await supervisor.delete(third.slug)
            assert trio.current_time() == 1
        assert first.state is third.state is State.GONE or trial.cancelled
        await second.wait_state(State.RUNNING)
        assert trio.current_time() == 4
        assert len(world.fetcher.requests) == 2
        check_consistent(world, supervisor)
    check_nothing_left(world)
    check_ended(first, second, third)


async def upload(trial: Trial) -> None:
    """What was uploaded goes when nobody uses it, whenever its client went."""
    world = World(config=AgentConfig(cache=Cache(upload_timeout=100)))
    pieces = [b"PK", b"\3\4", b""]

    async def read() -> bytes:
        await trio.sleep(1)
        return pieces.pop(0)

    async with world.open() as supervisor:
        with trial.subject():
            uploaded = await supervisor.uploads.receive(read)
            process = supervisor.create(make_spec(source_url=uploaded.url))
            await process.wait_state(State.RUNNING)
            await supervisor.delete(process.slug)
        ended = trio.current_time()
        assert ended == (3 if trial.cancelled_at is None else trial.cancelled_at)
        await trio.sleep(101)
        check_consistent(world, supervisor)
        assert world.workspaces.cache.archives == {}
    check_nothing_left(world)


ARCHIVES: Mapping[str, Scenario] = {
    "shared download": shared_download,
    "upload": upload,
}

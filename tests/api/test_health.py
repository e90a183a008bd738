"""Whether the agent lives, and whether it takes new processes."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from smartmob_agent.process.record import KeptProcess
from smartmob_agent.testing import FakeFetcher, FakeStore
from tests.api.asgi import open_site
from tests.process.world import EPOCH, World, make_spec

Clock = trio.testing.MockClock


@pytest.mark.parametrize(("path", "status"), [("/health", "alive"), ("/ready", "ready")])
async def test_an_agent_that_serves_is_alive_and_ready(path: str, status: str) -> None:
    async with open_site() as site:
        answer = await site.client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": status})
        assert answer.headers["cache-control"] == "no-store"


async def test_an_agent_that_brings_back_what_it_had_is_not_ready(autojump_clock: Clock) -> None:
    store = FakeStore()
    kept = KeptProcess(spec=make_spec(), created_at=EPOCH)
    await store.compare_and_set(kept.key, kept.document, expected=0)
    async with open_site(World(state=store, fetcher=FakeFetcher(delay=5))) as site:
        site.supervisor.restore((await store.read_all()).documents)
        answer = await site.client.get("/ready")
        assert (answer.status_code, "brings back" in answer.json()["detail"]) == (503, True)
        await trio.sleep(6)
        assert (await site.client.get("/ready")).status_code == 200


async def test_an_agent_that_stops_is_alive_and_not_ready() -> None:
    async with open_site() as site:
        site.supervisor.close()
        assert (await site.client.get("/health")).status_code == 200
        answer = await site.client.get("/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, 503)
        assert answer.headers["content-type"] == "application/problem+json"

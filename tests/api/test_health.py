"""Whether the agent lives, and whether it takes new processes."""

from __future__ import annotations

import pytest

from tests.api.asgi import open_site


@pytest.mark.parametrize(("path", "status"), [("/health", "alive"), ("/ready", "ready")])
async def test_an_agent_that_serves_is_alive_and_ready(path: str, status: str) -> None:
    async with open_site() as site:
        answer = await site.client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": status})
        assert answer.headers["cache-control"] == "no-store"


async def test_an_agent_that_stops_is_alive_and_not_ready() -> None:
    async with open_site() as site:
        site.supervisor.close()
        assert (await site.client.get("/health")).status_code == 200
        answer = await site.client.get("/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, 503)
        assert answer.headers["content-type"] == "application/problem+json"

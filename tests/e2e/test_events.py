"""Events over a real connection, while they happen."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import trio

from tests.e2e.agent import LIMIT
from tests.e2e.test_serve import SPEC, start


async def kinds_of(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        if line.startswith("event: "):
            yield line.removeprefix("event: ")


async def test_events_arrive_as_they_happen_and_end_with_the_agent() -> None:
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            agent = await start(nursery)
            async with (
                httpx.AsyncClient(base_url=agent.url, timeout=LIMIT) as client,
                client.stream("GET", "/events") as answer,
            ):
                kinds = kinds_of(answer.aiter_lines())
                assert await anext(kinds) == "snapshot"
                agent.supervisor.create(SPEC)
                assert await anext(kinds) == "state"
                agent.stop()
                *rest, last = [kind async for kind in kinds]
                assert (set(rest), last) == ({"state"}, "end")

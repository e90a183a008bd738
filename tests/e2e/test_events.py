"""Events over a real connection, while they happen."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import trio

from tests.e2e.agent import LIMIT
from tests.e2e.test_serve import SPEC, start


async def next_kind(lines: AsyncIterator[str]) -> str:
    """Read up to the next event."""
    while not (line := await anext(lines)).startswith("event: "):
        pass
    return line.removeprefix("event: ")


async def test_events_arrive_as_they_happen_and_end_with_the_agent() -> None:
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            agent = await start(nursery)
            async with (
                httpx.AsyncClient(base_url=agent.url, timeout=LIMIT) as client,
                client.stream("GET", "/events") as answer,
            ):
                lines = answer.aiter_lines()
                assert await next_kind(lines) == "snapshot"
                agent.supervisor.create(SPEC)
                assert await next_kind(lines) == "state"
                agent.stop()
                while (kind := await next_kind(lines)) != "end":
                    assert kind == "state"
                assert [line async for line in lines] == ['data: {"reason": "agent"}', ""]

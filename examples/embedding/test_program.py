"""Tests of a program that runs an agent: no network, no processes, no waiting."""

from __future__ import annotations

from functools import partial

import trio
import trio.testing

import smartmob_agent
from smartmob_agent import State
from smartmob_agent.testing import FakeFetcher, FakeSpawner, FakeWorkspaces

SPEC = smartmob_agent.ProcessSpec(
    app="hello", node="worker.0", process_type="worker", source_url="http://example.net/hello.zip"
)


async def test_a_child_that_ran_for_a_minute_is_started_again_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The minute passes in no time: whenever all tasks wait, the clock jumps."""
    spawner = FakeSpawner()
    workspaces = FakeWorkspaces(procfile=b"worker: TICK_SECONDS=1 python3 worker.py\n")
    serve = partial(
        smartmob_agent.serve, spawner=spawner, fetcher=FakeFetcher(), workspaces=workspaces
    )
    config = smartmob_agent.AgentConfig(port=0)
    async with trio.open_nursery() as nursery:
        agent: smartmob_agent.Agent = await nursery.start(serve, config)
        process = agent.supervisor.create(SPEC)

        first = await spawner.next_child()
        assert first.command.env["TICK_SECONDS"] == "1"
        await trio.sleep(60.0)
        before = autojump_clock.current_time()
        first.exit(1)

        await spawner.next_child()
        assert autojump_clock.current_time() == before
        await process.wait_state(State.RUNNING)
        assert process.restarts == 1
        agent.stop()

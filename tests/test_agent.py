"""What `serve` makes of its configuration, on fakes and the virtual clock.

Its port is real, and nobody connects to it.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

import smartmob_agent
from smartmob_agent import Agent, AgentConfig, agent as agent_module
from smartmob_agent.config.settings import Security
from smartmob_agent.errors import StartError
from smartmob_agent.testing import (
    FakeFetcher,
    FakeNetwork,
    FakeSpawner,
    FakeStore,
    FakeWorkspaces,
)
from tests.process.world import make_spec, settle


async def start_times(config: AgentConfig, count: int) -> list[float]:
    """Let an agent start so many processes that were created at once; return when it did."""
    spawner, times = FakeSpawner(), []
    run = partial(
        smartmob_agent.serve,
        config,
        spawner=spawner,
        fetcher=FakeFetcher(),
        workspaces=FakeWorkspaces(),
        network=FakeNetwork(),
    )
    async with trio.open_nursery() as nursery:
        agent: Agent = await nursery.start(run)
        for number in range(count):
            agent.supervisor.create(make_spec(f"app{number}"))
        for _ in range(count):
            await spawner.next_child()
            times.append(trio.current_time())
        await settle()
        agent.stop()
    assert (spawner.living, len(spawner.children)) == ([], count)
    return times


async def test_an_agent_starts_no_more_children_in_a_second_than_it_may(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert await start_times(AgentConfig(port=0, max_start_rate=2), 5) == [0, 0, 1, 1, 2]


async def test_an_agent_that_was_told_nothing_starts_50_in_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert AgentConfig().max_start_rate == 50
    assert await start_times(AgentConfig(port=0), 101) == [*[0] * 50, *[1] * 50, 2]


async def test_an_agent_without_a_rate_starts_all_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert await start_times(AgentConfig(port=0, max_start_rate=0), 101) == [0] * 101


async def test_a_token_file_that_hangs_is_an_error_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO that nobody writes stands for a network share; the event loop goes on meanwhile."""
    fifo = tmp_path / "tokens"
    os.mkfifo(fifo, 0o600)
    monkeypatch.setattr(agent_module, "_READ_TIMEOUT", 0.05)
    config = AgentConfig(port=0, security=Security(token_file=fifo))
    with pytest.raises(StartError, match="token file, certificates or /proc: no answer in "):
        await smartmob_agent.serve(config)
    os.close(os.open(fifo, os.O_WRONLY))


async def test_the_next_agent_has_what_the_last_one_kept(tmp_path: Path) -> None:
    """In real files, by the state directory of its configuration; its cache is there, too."""
    config = AgentConfig(port=0, state_dir=tmp_path / "state", work_dir=tmp_path / "work")
    found: list[list[str]] = []
    for _ in range(2):
        run = partial(
            smartmob_agent.serve,
            config,
            spawner=FakeSpawner(),
            fetcher=FakeFetcher(delay=1000),
            network=FakeNetwork(),
            builders=(),
        )
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                agent: Agent = await nursery.start(run)
                found.append([process.slug for process in agent.supervisor])
                if not found[-1]:
                    await agent.supervisor.create(make_spec()).wait_kept()
                agent.stop()
    assert found == [[], ["app.web.0"]]
    assert (tmp_path / "state" / "cache").is_dir()


async def test_a_state_that_cannot_be_read_lets_no_agent_start() -> None:
    state = FakeStore()
    state.failure = "the disk is gone"
    config = AgentConfig(port=0)
    refusal = pytest.RaisesExc(StartError, match="the disk is gone")
    with pytest.RaisesGroup(refusal, flatten_subgroups=True):
        await smartmob_agent.serve(config, state=state, builders=())

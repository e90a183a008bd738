"""A plugin of pytest: fixtures for tests of programs that embed the agent.

It is loaded by every run of pytest where smartmob-agent is installed, so it imports nothing of it
before a test asks for a fixture; and it lies beside the package, whose own coverage would be lost
if it were imported before coverage is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smartmob_agent import Agent, AgentConfig
    from smartmob_agent.testing import FakeFetcher, FakeSpawner, FakeWorkspaces


@pytest.fixture
def fake_spawner() -> FakeSpawner:
    """Starts the children of `agent`, which do what the test tells them."""
    from smartmob_agent.testing import FakeSpawner

    return FakeSpawner()


@pytest.fixture
def fake_fetcher() -> FakeFetcher:
    """Downloads for `agent`, from nowhere."""
    from smartmob_agent.testing import FakeFetcher

    return FakeFetcher()


@pytest.fixture
def fake_workspaces() -> FakeWorkspaces:
    """Has the files of `agent`, which are none."""
    from smartmob_agent.testing import FakeWorkspaces

    return FakeWorkspaces()


@pytest.fixture
def agent_config() -> AgentConfig:
    """The configuration of `agent`: a free port.  To be overridden."""
    from smartmob_agent import AgentConfig

    return AgentConfig(port=0)


@pytest.fixture
async def agent(
    agent_config: AgentConfig,
    fake_spawner: FakeSpawner,
    fake_fetcher: FakeFetcher,
    fake_workspaces: FakeWorkspaces,
) -> AsyncIterator[Agent]:
    """An agent on fakes that serves, until the test ends; needs pytest-trio.

    Ask for `autojump_clock` too, and time is virtual.  At the end its children are killed.
    """
    from functools import partial

    import trio

    from smartmob_agent import serve

    async with trio.open_nursery() as nursery:
        run = partial(
            serve,
            agent_config,
            spawner=fake_spawner,
            fetcher=fake_fetcher,
            workspaces=fake_workspaces,
        )
        agent: Agent = await nursery.start(run)
        yield agent
        agent.kill()

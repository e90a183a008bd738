"""Fixtures of pytest for programs that embed the agent.

A project asks for them, in its topmost ``conftest.py``::

    pytest_plugins = ["smartmob_agent.testing.plugin"]

No other module of the package imports pytest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
import trio

from smartmob_agent.agent import Agent, serve
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.testing.builds import FakeBuilder
from smartmob_agent.testing.children import FakeSpawner
from smartmob_agent.testing.network import FakeNetwork
from smartmob_agent.testing.sources import FakeFetcher, FakeWorkspaces

__all__ = [
    "agent",
    "agent_config",
    "fake_builders",
    "fake_fetcher",
    "fake_network",
    "fake_spawner",
    "fake_workspaces",
]


@pytest.fixture
def fake_spawner() -> FakeSpawner:
    """Starts the children of `agent`, which do what the test tells them."""
    return FakeSpawner()


@pytest.fixture
def fake_fetcher() -> FakeFetcher:
    """Downloads for `agent`, without a network."""
    return FakeFetcher()


@pytest.fixture
def fake_workspaces() -> FakeWorkspaces:
    """Unpacks archives for `agent`, without a disk."""
    return FakeWorkspaces()


@pytest.fixture
def fake_network() -> FakeNetwork:
    """The ports of the machine of `agent`, at which each child listens at once."""
    return FakeNetwork()


@pytest.fixture
def fake_builders() -> Sequence[FakeBuilder]:
    """The builders of `agent`: none.  To be overridden."""
    return ()


@pytest.fixture
def agent_config() -> AgentConfig:
    """The configuration of `agent`, with a free port.  To be overridden."""
    return AgentConfig(port=0)


@pytest.fixture
async def agent(
    agent_config: AgentConfig,
    fake_spawner: FakeSpawner,
    fake_fetcher: FakeFetcher,
    fake_workspaces: FakeWorkspaces,
    fake_network: FakeNetwork,
    fake_builders: Sequence[FakeBuilder],
) -> AsyncIterator[Agent]:
    """An agent on fakes that serves until the test ends; needs pytest-trio.

    A test that also asks for `autojump_clock` runs on virtual time.  At the end of the test all
    children are killed.
    """
    async with trio.open_nursery() as nursery:
        run = partial(
            serve,
            agent_config,
            spawner=fake_spawner,
            fetcher=fake_fetcher,
            workspaces=fake_workspaces,
            network=fake_network,
            builders=fake_builders,
        )
        agent: Agent = await nursery.start(run)
        yield agent
        agent.kill()

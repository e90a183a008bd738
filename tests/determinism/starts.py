"""Scenarios of the start of an agent, with a real port that nobody connects to."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

import trio

import smartmob_agent
from smartmob_agent.config import AgentConfig
from smartmob_agent.errors import StartError
from smartmob_agent.serve import Agent
from smartmob_agent.testing import Trial
from smartmob_agent.testing.trial import Scenario
from tests.determinism.stage import check_nothing_left
from tests.process.world import World, running


async def start(trial: Trial) -> None:
    """Whatever happens while it starts: its port is free, and no descriptor is left."""
    world, before = World(), descriptors()
    fakes: dict[str, Any] = {
        "spawner": world.spawner,
        "fetcher": world.fetcher,
        "workspaces": world.workspaces,
    }
    run = partial(smartmob_agent.serve, AgentConfig(port=0), **fakes)
    with trial.subject():
        async with trio.open_nursery() as nursery:
            agent: Agent = await nursery.start(run)
            world.supervisors.append(agent.supervisor)
            await trio.lowlevel.checkpoint()
            await running(agent.supervisor)
            agent.stop()
    check_nothing_left(world)
    assert (descriptors(), trio.current_time()) == (before, 0)


async def start_failure(trial: Trial) -> None:
    """An agent that cannot start says so to the program around it, which may be ending itself."""
    world, before = World(), descriptors()
    fakes: dict[str, Any] = {
        "spawner": world.spawner,
        "fetcher": world.fetcher,
        "workspaces": world.workspaces,
    }
    failed = False
    with socket.create_server(("127.0.0.1", 0)) as taken, trial.subject():
        config = AgentConfig(port=taken.getsockname()[1])
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 1)
                await trio.lowlevel.checkpoint()
                await nursery.start(partial(smartmob_agent.serve, config, **fakes))
        except* StartError:
            failed = True
    assert failed or trial.cancelled
    assert (descriptors(), trio.current_time()) == (before, 0)


def descriptors() -> int:
    """How many are open; a run of trio has some of its own."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # of which nobody needs the paths


STARTS: Mapping[str, Scenario] = {
    "start": start,
    "start-up failure": start_failure,
}

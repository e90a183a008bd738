"""Scenarios of the start of an agent, with a real port that nobody connects to."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NoReturn

import trio

import smartmob_agent
from smartmob_agent.agent import Agent
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import StartError
from smartmob_agent.testing import FakeCache, FakeSpawner, FakeWorkspaces, Scenario, Trial
from smartmob_agent.testing.nowhere import NOWHERE
from tests.determinism.memory_agent import check_nothing_left
from tests.process.world import World, running

STOP = AgentConfig().stop_timeout


class BrokenCache(FakeCache):
    """It fails `delay` seconds after the store has asked it for its uploads."""

    def __init__(self, delay: float) -> None:
        super().__init__()
        self.delay = delay

    async def uploads(self) -> Sequence[NoReturn]:
        await trio.sleep(self.delay)
        raise OSError("the disk is gone")


def broken_world(delay: float) -> World:
    world = World(spawner=FakeSpawner(obey=False), workspaces=FakeWorkspaces())
    world.workspaces.cache = BrokenCache(delay)
    return world


async def start_agent(nursery: trio.Nursery, world: World, config: AgentConfig) -> Agent:
    run = partial(
        smartmob_agent.serve,
        config,
        spawner=world.spawner,
        fetcher=world.fetcher,
        workspaces=world.workspaces,
        network=world.network,
    )
    agent: Agent = await nursery.start(run)
    world.supervisors.append(agent.supervisor)
    return agent


async def start(trial: Trial) -> None:
    """Whatever happens while it starts: its port is free, and no descriptor is left."""
    world, before = World(), descriptors()
    with trial.subject():
        async with trio.open_nursery() as nursery:
            agent = await start_agent(nursery, world, AgentConfig(port=0))
            await trio.lowlevel.checkpoint()
            await running(agent.supervisor)
            agent.stop()
    check_nothing_left(world)
    assert (descriptors(), trio.current_time()) == (before, 0)


async def port_in_use(trial: Trial) -> None:
    """An agent that cannot start says so to the program around it, which may be ending itself."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = AgentConfig(port=taken.getsockname()[1])
        await fail_to_start(trial, World(), config, StartError)


async def second_socket(trial: Trial) -> None:
    """What was opened before the socket that cannot be is closed again."""
    config = AgentConfig(port=0, unix=NOWHERE / "agent.sock")
    await fail_to_start(trial, World(), config, StartError)


async def store_at_once(trial: Trial) -> None:
    """What fails behind the listeners, while HTTP starts, ends the agent and is told."""
    await fail_to_start(trial, broken_world(0), AgentConfig(port=0), OSError)


async def fail_to_start(
    trial: Trial, world: World, config: AgentConfig, error: type[Exception]
) -> None:
    before, failed = descriptors(), False
    with trial.subject():
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 1)
                await trio.lowlevel.checkpoint()
                await start_agent(nursery, world, config)
        except* error:
            failed = True
    assert failed or trial.cancelled
    check_nothing_left(world)
    assert (descriptors(), trio.current_time()) == (before, 0)


async def store_later(trial: Trial) -> None:
    """What fails while children run ends them in their time, and then it is told."""
    world, before, failed = broken_world(1), descriptors(), False
    with trial.subject():
        try:
            async with trio.open_nursery() as nursery:
                agent = await start_agent(nursery, world, AgentConfig(port=0))
                await trio.lowlevel.checkpoint()
                await running(agent.supervisor)
        except* OSError:
            failed = True
    at = 1 if trial.cancelled_at is None else min(trial.cancelled_at, 1)
    assert failed == (at == 1) or (trial.cancelled_at == 1 and not failed)
    end = at + STOP if world.spawner.children else 0
    check_nothing_left(world)
    assert (descriptors(), trio.current_time()) == (before, end)


def descriptors() -> int:
    """How many are open; a run of trio has some of its own."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # of which nobody needs the paths


STARTS: Mapping[str, Scenario] = {
    "start": start,
    "port in use": port_in_use,
    "second socket": second_socket,
    "store at once": store_at_once,
    "store later": store_later,
}

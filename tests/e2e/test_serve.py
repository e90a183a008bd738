"""The agent inside of another trio program: real sockets, real clock, fake or real children."""

from __future__ import annotations

import logging
import signal
import socket
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

import smartmob_agent
from smartmob_agent import Agent, AgentConfig, ProcessSpec, StartError, State, StoppingError
from smartmob_agent.testing import FakeFetcher, FakeNetwork, FakeSpawner, FakeWorkspaces
from tests.e2e.agent import LIMIT, alive, archive_server, shell_app

CONFIG = AgentConfig(port=0, stop_timeout=0.5)
SPEC = ProcessSpec(app="app", node="web.0", process_type="web", source_url="http://127.0.0.1:1/a")


async def start(nursery: trio.Nursery, spawner: FakeSpawner | None = None) -> Agent:
    """Start an agent in a world of fakes."""
    agent: Agent = await nursery.start(
        partial(
            smartmob_agent.serve,
            CONFIG,
            spawner=spawner or FakeSpawner(),
            fetcher=FakeFetcher(),
            workspaces=FakeWorkspaces(),
            network=FakeNetwork(),
        )
    )
    return agent


async def test_it_serves_where_its_url_says() -> None:
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            agent = await start(nursery)
            async with httpx.AsyncClient() as client:
                answer = await client.get(agent.url)
            assert answer.json()["list"] == f"{agent.url}/list-processes"
            agent.stop()


async def test_stop_ends_all_children_and_serve_returns() -> None:
    spawner = FakeSpawner()
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            agent = await start(nursery, spawner)
            agent.supervisor.create(SPEC)
            child = await spawner.next_child()
            agent.stop()
            with pytest.raises(StoppingError):
                agent.supervisor.create(SPEC)
    assert child.terminated.is_set()


async def test_kill_does_not_ask() -> None:
    spawner = FakeSpawner(obey=False)
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            agent = await start(nursery, spawner)
            agent.supervisor.create(SPEC)
            child = await spawner.next_child()
            agent.kill()
    assert child.killed.is_set()
    assert not child.terminated.is_set()


async def test_cancelling_the_caller_ends_all_children() -> None:
    """Real ones: the pid is gone when the cancelled block is left."""
    with trio.fail_after(LIMIT):
        async with archive_server() as server:
            url = server.add("app", shell_app("exec sleep 1000"))
            async with trio.open_nursery() as nursery:
                agent: Agent = await nursery.start(smartmob_agent.serve, CONFIG)
                spec = ProcessSpec(app="a", node="b", process_type="web", source_url=url)
                process = agent.supervisor.create(spec)
                await process.wait_state(State.RUNNING)
                pid = process.pid
                assert pid is not None
                assert alive(pid)
                nursery.cancel_scope.cancel()
            assert not alive(pid)


async def test_two_agents_in_one_program_do_not_know_of_each_other() -> None:
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            first, second = await start(nursery), await start(nursery)
            first.supervisor.create(SPEC)
            assert (len(first.supervisor), len(second.supervisor)) == (1, 0)
            async with httpx.AsyncClient() as client:
                first.stop()
                answer = await client.get(f"{second.url}/list-processes")
            assert answer.json() == {"processes": []}
            second.stop()


async def test_it_neither_handles_signals_nor_configures_logs() -> None:
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    root = logging.getLogger()

    def state() -> object:
        return [signal.getsignal(s) for s in watched], root.handlers[:], root.level

    before = state()
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            agent = await start(nursery)
            during = state()
            agent.stop()
    assert before == during == state()


async def test_a_taken_port_is_told_before_anything_runs() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = AgentConfig(port=taken.getsockname()[1])
        with trio.fail_after(LIMIT), pytest.raises(StartError, match="in use"):
            await smartmob_agent.serve(config)


async def test_a_work_dir_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = AgentConfig(port=0, work_dir=tmp_path / "file")
    with trio.fail_after(LIMIT), pytest.raises(StartError, match="file"):
        await smartmob_agent.serve(config)


async def test_an_open_address_without_credentials_is_refused() -> None:
    with trio.fail_after(LIMIT), pytest.raises(StartError, match="expected credentials"):
        await smartmob_agent.serve(AgentConfig(host="0.0.0.0", port=0))

"""Clients that mean no good, against the command with a running process."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.e2e.agent import (
    RunningAgent,
    alive,
    archive_server,
    running_agent,
    shell_app,
    stuck_client,
)
from tests.http.hostile import INPUTS

pytestmark = pytest.mark.slow

SLOWLORIS, STUCK = 200, 100
FLOOD = "while :; do echo a line of output that nobody reads in time; done"


@asynccontextmanager
async def agent_with(script: str, *options: str) -> AsyncIterator[tuple[RunningAgent, int]]:
    """Run an agent with one process; yield it and the pid."""
    async with archive_server() as archives, running_agent(*options) as agent:
        await agent.create(archives.add("app.tar.gz", shell_app(script)))
        status = await agent.wait_state("app.web.0", "running")
        yield agent, status["pid"]


async def connect(agent: RunningAgent) -> trio.SocketStream:
    host, port = agent.url.removeprefix("http://").rsplit(":", 1)
    return await trio.open_tcp_stream(host, int(port))


async def throw(agent: RunningAgent, data: bytes) -> None:
    """Send, then no more, and read until the agent closes."""
    stream = await connect(agent)
    async with stream:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain, stream)
                await stream.send_all(data)
                await stream.send_eof()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


async def drain(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


async def seconds_for_index(agent: RunningAgent) -> float:
    began = time.perf_counter()
    assert (await agent.client.get("/")).status_code == 200
    return time.perf_counter() - began


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_the_agent_and_its_process_go_on_after_each_hostile_input() -> None:
    """Index within a second, the same pid, no traceback, and no descriptor left open."""
    # A WebSocket that has ended its input may go on until it owes an answer to a ping.
    async with agent_with("exec sleep 1000", "--ping-interval=0.2") as (agent, pid):
        await agent.client.get("/")
        before = descriptors(agent.process.pid)
        for meaning, _, data in INPUTS:
            await throw(agent, data)
            seconds = await seconds_for_index(agent)
            assert seconds < 1, meaning
            assert alive(pid), meaning
        status = await agent.status("app.web.0")
        assert (status["pid"], status["restarts"], status["state"]) == (pid, 0, "running")
        assert descriptors(agent.process.pid) == before
        assert [e for e in agent.events if e.get("level") in ("warning", "error")] == []


async def test_a_crowd_of_slow_clients_keeps_nobody_else_waiting() -> None:
    """Neither those who do not end their headers nor those who do not read; nor the end."""
    async with agent_with(FLOOD, "--stop-timeout=2") as (agent, _), AsyncExitStack() as crowd:
        for _ in range(SLOWLORIS):
            stream = await crowd.enter_async_context(await connect(agent))
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: ")
        for _ in range(STUCK):
            await crowd.enter_async_context(stuck_client(agent, "app.web.0"))
        times = sorted([await seconds_for_index(agent) for _ in range(21)])
        began = time.perf_counter()
        assert await agent.stop(signal.SIGTERM) == 0
        seconds = time.perf_counter() - began
    assert times[10] < 0.1
    assert seconds < 10, "as long as the agent waits for headers"

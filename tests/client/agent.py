"""A real agent in this program, with children that are fakes; and servers that are none."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

import smartmob_agent
from smartmob_agent import Agent, AgentConfig
from smartmob_agent.testing import FakeFetcher, FakeNetwork, FakeSpawner, FakeWorkspaces

__all__ = ["CREATE", "LIMIT", "World", "open_world", "raw_server", "serving", "silent_server"]

LIMIT = 30.0
"""Seconds for anything on real sockets."""
CREATE: Mapping[str, Any] = {
    "app": "hello",
    "node": "web.0",
    "process_type": "web",
    "source_url": "http://127.0.0.1:1/hello.tar.gz",
}


@attrs.frozen
class World:
    """What a test has."""

    agent: Agent
    spawner: FakeSpawner
    network: FakeNetwork

    @property
    def url(self) -> str:
        return self.agent.url


@asynccontextmanager
async def open_world(config: AgentConfig | None = None) -> AsyncGenerator[World]:
    """Serve until the end of the block."""
    spawner, network = FakeSpawner(), FakeNetwork()
    serve = partial(
        smartmob_agent.serve,
        config or AgentConfig(port=0, stop_timeout=0),
        spawner=spawner,
        fetcher=FakeFetcher(),
        workspaces=FakeWorkspaces(),
        network=network,
    )
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            agent: Agent = await nursery.start(serve)
            yield World(agent, spawner, network)
            agent.stop()


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncGenerator[str]:
    """Answer each connection so, whatever it asks for, and close it."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with serving(handle) as url:
        yield url


@asynccontextmanager
async def silent_server() -> AsyncGenerator[str]:
    """Take all that comes, and answer nothing."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            async for _data in stream:
                pass

    async with serving(handle) as url:
        yield url


@asynccontextmanager
async def serving(
    handle: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncGenerator[str]:
    """Let something handle each connection."""
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            await nursery.start(trio.serve_listeners, handle, [listener])
            yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            nursery.cancel_scope.cancel()

"""Where scenarios play: a supervisor, or a whole agent, on fakes; and what must hold after them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio
from wsproto.events import CloseConnection, TextMessage

from smartmob_agent.agent import Agent, _run as run_task_tree
from smartmob_agent.http.listeners import Listener
from smartmob_agent.http.middleware.stack import open_middleware
from smartmob_agent.metrics.agent import Metrics
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.start_rate import PacedSpawner, StartRate
from smartmob_agent.process.states import State
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.testing import FakeWorkspace
from tests.http.memory import KEY, Client, MemoryListener, WebSocket, _stream_pair
from tests.process.tasks import check_tasks, count_tasks
from tests.process.world import World, settle

HOST = "127.0.0.1"


def check_nothing_left(world: World, *, closed: bool = True) -> None:
    """No child lives, no pipe is open, no file is left, no archive is held, no process is listed.

    closed: whether the supervisors have come to their end, and so have their events.
    """
    assert world.spawner.living == []
    assert [one for one in world.workspaces.opened if not is_clean(one)] == []
    cache = world.workspaces.cache
    assert {key: one.held for key, one in cache.archives.items() if one.held} == {}
    assert [part for part in cache.parts if not part.removed] == []
    trees = cache.trees
    assert {key: one.held for key, one in trees.trees.items() if one.held} == {}
    assert [one for one in trees.scratches if not one.removed] == []
    assert [one for one in trees.tool_caches if not one.released] == []
    assert [process.slug for supervisor in world.supervisors for process in supervisor] == []
    assert {(one.stopping, one.events.ended) for one in world.supervisors} <= {(closed, closed)}


def is_clean(workspace: FakeWorkspace) -> bool:
    return workspace.removed.is_set()


def check_consistent(world: World, supervisor: Supervisor) -> None:
    """What is listed lives, and what lives is listed."""
    assert all(process.state is not State.GONE for process in supervisor)
    listed = {process.pid for process in supervisor} - {None}
    assert {child.pid for child in world.spawner.living} == listed


def check_ended(*processes: ManagedProcess, end: ConsoleEnd | None = None) -> None:
    """They are gone, and their consoles have ended, for the right reason."""
    for process in processes:
        assert (process.state, process.pid) == (State.GONE, None)
        assert process.console.ended
        assert end in (None, process.console.end)
        assert not process.console.readers


@attrs.define(eq=False)
class Stage:
    """A whole agent on fakes, with its server in memory."""

    agent: Agent
    _listener: MemoryListener
    _nurseries: list[trio.Nursery]
    _before: Counter[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._before = count_tasks(self._nurseries)
        # What comes back with the state has begun, and is listed.
        for process in self.supervisor:
            del self._before[f"process {process.slug}"]
        del self._before["download"]

    @property
    def supervisor(self) -> Supervisor:
        return self.agent.supervisor

    def connect(self, *, lockstep: bool = False) -> Client:
        """lockstep: what the server writes waits until the client has read it."""
        ours, theirs = _stream_pair(HOST, lockstep=lockstep)
        self._listener.send.send_nowait(theirs)
        return Client(ours)

    async def check_tasks(self, *, connections: int = 0) -> None:
        """Let happen what needs no time: then no task is left of what has been, only of what is."""
        await settle()
        check_tasks(self._nurseries, self._before, self.supervisor, connections=connections)


async def run_agent(
    world: World, *, task_status: trio.TaskStatus[Stage] = trio.TASK_STATUS_IGNORED
) -> None:
    """What `serve` does once it has opened what it needs; the only place that knows how."""
    listener = MemoryListener()
    listeners = [Listener("http://127.0.0.1:8080", listener, listener.close)]

    class Started:
        def started(self, agent: Agent) -> None:
            world.supervisors.append(agent.supervisor)
            nurseries = trio.lowlevel.current_task().child_nurseries
            task_status.started(Stage(agent, listener, nurseries))

    async with world.open_services() as services:
        gate, metrics = open_middleware(world.config), Metrics()
        rate = StartRate(world.config.max_start_rate)
        paced = PacedSpawner(metrics.meter_spawner(services.spawner), rate)
        started: Any = Started()
        services = attrs.evolve(services, spawner=paced)
        await run_task_tree(services, gate, None, metrics, listeners, started)


@asynccontextmanager
async def open_stage(world: World) -> AsyncIterator[Stage]:
    """An agent that serves; at the end it is stopped and waited for.

    Unless the block has stopped it, it has no connection then, and no task that nobody needs.
    """
    async with trio.open_nursery() as nursery:
        stage: Stage = await nursery.start(partial(run_agent, world))
        try:
            yield stage
            if not stage.supervisor.stopping:
                await stage.check_tasks()
        finally:
            stage.agent.stop()


async def ask(client: Client, method: str, path: str, body: bytes = b"") -> int:
    """Send a request; return its status, or 0 when the server hangs up without an answer.

    If cancelled: closes the connection.
    """
    head = (  # With an id: tasks are named after it, and a new one would be random.
        f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nX-Request-Id: {path}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    async with client.stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await client.send(head.encode() + body)
        answer = await client.rest()
    return int(answer.split()[1]) if answer else 0


def attach_request(slug: str) -> bytes:
    """A handshake that asks for the console of a process."""
    return (
        f"GET /attach-console/{slug} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {KEY.decode()}\r\n\r\n"
    ).encode()


async def follow(client: Client, slug: str = "app.web.0") -> tuple[list[str], int | None]:
    """Attach, and read until the end; return the lines, and the code that it was closed with.

    The code is None when the server hung up, and the status when it refused.

    If cancelled: closes the connection.
    """
    lines: list[str] = []
    async with client.stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await client.send(attach_request(slug))
            answer = bytes(await client.stream.receive_some(65536))
            head, _, frames = answer.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101 "):
                return lines, int(head.split()[1]) if head else None
            socket = WebSocket(client.stream)
            socket.frames.receive_data(frames)
            while event := await socket.next():
                if isinstance(event, TextMessage):
                    lines.append(event.data)
                elif isinstance(event, CloseConnection):
                    await socket.send(event.response())
                    return lines, int(event.code)
    return lines, None

"""Hearing the guard, which the test speaks itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from smartmob_agent.child.listen import listen


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    agent, guard = socket.socketpair()
    agent.setblocking(False)
    with agent, guard:
        yield agent, guard


async def test_each_line_is_heard_when_it_is_complete(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    agent, guard = sockets
    heard: list[tuple[str, str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, agent, lambda *line: heard.append(line))
        guard.sendall(b"ready tr")
        await wait_all_tasks_blocked()
        assert heard == []
        guard.sendall(b"ee\ngone 1\n")
        guard.close()
    assert heard == [("ready", "tree"), ("gone", "1")]


async def test_a_guard_that_was_killed_with_a_request_unread_has_ended(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    agent, guard = sockets
    agent.send(b"x")
    guard.close()
    await listen(agent, lambda *line: pytest.fail(f"heard {line}"))

"""Hearing the guard, which the test speaks itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from smartmob_agent.child.zygote_client import receive_lines


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    agent, guard = socket.socketpair()
    agent.setblocking(False)
    with agent, guard:
        yield agent, guard


async def test_each_line_is_received_when_it_is_complete(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    agent, guard = sockets
    received: list[tuple[str, str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_lines, agent, lambda *line: received.append(line))
        guard.sendall(b"ready tr")
        await wait_all_tasks_blocked()
        assert received == []
        guard.sendall(b"ee\ngone 1\n")
        guard.close()
    assert received == [("ready", "tree"), ("gone", "1")]


async def test_a_guard_that_was_killed_with_a_request_unread_has_ended(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    agent, guard = sockets
    agent.send(b"x")
    guard.close()
    await receive_lines(agent, lambda *line: pytest.fail(f"received {line}"))

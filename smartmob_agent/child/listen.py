"""Hearing what the guard says on one of its sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable

import trio

from smartmob_agent.child.guard.wire import Lines

__all__ = ["listen"]


async def listen(source: socket.socket, hear: Callable[[str, str], None]) -> None:
    """Call `hear(word, rest)` for each line that comes, until the other end is closed.

    source: does not block
    """
    lines = Lines()
    while True:
        await trio.lowlevel.wait_readable(source)
        try:
            data = source.recv(65536)
        except ConnectionError:  # killed with something unread
            return
        if not data:
            return
        for word, rest in lines.feed(data):
            hear(word, rest)

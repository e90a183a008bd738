"""The agent's hand on the zygote, where no zygote is needed; test_guarded.py has the rest."""

from __future__ import annotations

import errno
import socket

import trio

from smartmob_agent.child.request import SpawnRequest
from smartmob_agent.child.zygote_client import ZygoteClient


async def test_a_request_that_cannot_be_sent_is_refused_in_the_guards_words() -> None:
    """Here it is too large for a datagram; the next one is sent."""
    zygote = ZygoteClient()
    control, guard = socket.socketpair(type=socket.SOCK_DGRAM)
    lifeline, theirs = socket.socketpair()
    with control, guard, lifeline, trio.fail_after(20):
        control.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(zygote._write, control)
            _, gone = await zygote.spawn(SpawnRequest({"env": "x" * 10_000_000}, [theirs.detach()]))
            await gone.wait()
            assert lifeline.recv(100) == f"failed {errno.EMSGSIZE} request\n".encode()
            assert lifeline.recv(100) == b""
            await zygote.kill(1)
            await trio.lowlevel.wait_readable(guard)
            nursery.cancel_scope.cancel()

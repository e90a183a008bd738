"""Sources that hold a process in each phase on its way to a child."""

from __future__ import annotations

import functools
import socket
import tarfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import attrs
import trio

from smartmob_agent import State
from tests.e2e.agent import shell_app
from tests.source.servers import respond

MEMBERS = 30_000
"""Of an archive that takes a second to unpack."""

HALF = respond(b"half", 'ETag: "1"', "Content-Length: 8")


@functools.cache
def large_archive() -> bytes:
    """An archive of many empty files."""
    members = (tarfile.TarInfo(f"{n // 1000}-{n}") for n in range(MEMBERS))
    return b"".join(member.tobuf() for member in members) + bytes(1024)


@attrs.define(eq=False)
class Phase:
    """A source with which a process stays in one phase, if only for a while.

    state: what the process is in then.
    answer: what its server sends before it says no more.
    reached: set when the process is there, or will be as soon as it has what was sent.
    closed: set when the agent has closed its connection.
    """

    name: str
    state: State
    answer: bytes = b""
    url: str = ""
    reached: trio.Event = attrs.field(factory=trio.Event)
    closed: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(self.answer)
            self.reached.set()
            if self.state is State.DOWNLOADING:
                await stream.receive_some()
        self.closed.set()


def make_phases() -> list[Phase]:
    """In the order in which they are reached; the last one lasts longest."""
    return [
        Phase("handshake", State.DOWNLOADING),
        Phase("headers", State.DOWNLOADING),
        Phase("body", State.DOWNLOADING, HALF),
        Phase("prepare", State.PROCESSING, respond(shell_app("exec sleep 1000"))),
        Phase("unpack", State.UNPACKING, respond(large_archive())),
    ]


@asynccontextmanager
async def open_phases() -> AsyncIterator[dict[str, Phase]]:
    """Serve all of them, by name."""
    phases = make_phases()
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            for phase in phases:
                [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
                await nursery.start(trio.serve_listeners, phase.serve, [listener])
                scheme = "https" if phase.name == "handshake" else "http"
                phase.url = f"{scheme}://127.0.0.1:{listener.socket.getsockname()[1]}/"
            full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            fill(full, stack)
            connect = Phase("connect", State.DOWNLOADING)
            connect.url = f"http://127.0.0.1:{full.getsockname()[1]}/"
            yield {phase.name: phase for phase in [connect, *phases]}
            nursery.cancel_scope.cancel()


def fill(listener: socket.socket, stack: ExitStack) -> None:
    """Leave no room for a further connection: the kernel drops what asks for one."""
    for _ in range(4):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(listener.getsockname())

"""The command as a child process, with real sockets and real archives."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

LIMIT = 60.0
"""Seconds for anything that a test waits for: generous, because it is no assertion on speed."""


def tar_gz(files: Mapping[str, bytes | str], *, mode: int = 0o755) -> bytes:
    """Pack files into a tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def shell_app(script: str) -> bytes:
    """Pack an app whose process type `web` runs a shell script."""
    return tar_gz({"Procfile": "web: exec sh ./run.sh\n", "run.sh": script})


@attrs.define(eq=False)
class ArchiveServer:
    """Serves bodies by path; any other path is a 404.

    requests: the head of each request, as lines.
    """

    url: str
    bodies: dict[str, bytes] = attrs.field(factory=dict)
    requests: list[list[str]] = attrs.field(factory=list)

    def add(self, name: str, body: bytes) -> str:
        self.bodies[f"/{name}"] = body
        return f"{self.url}/{name}"

    async def handle(self, stream: trio.SocketStream) -> None:
        head = b""
        async with stream:
            while b"\r\n\r\n" not in head:
                if not (data := await stream.receive_some()):
                    return
                head += data
            lines = head.decode().split("\r\n")
            self.requests.append(lines)
            path = lines[0].split()[1].partition("?")[0]
            body = self.bodies.get(path)
            status = "200 OK" if body is not None else "404 Not Found"
            answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body or b'')}\r\n\r\n".encode()
            await stream.send_all(answer + (body or b""))


@asynccontextmanager
async def archive_server() -> AsyncIterator[ArchiveServer]:
    """Serve archives on loopback."""
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        host, port = listener.socket.getsockname()
        server = ArchiveServer(f"http://{host}:{port}")
        await nursery.start(trio.serve_listeners, server.handle, [listener])
        yield server
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class RunningAgent:
    """An agent that runs, and what it has logged."""

    process: trio.Process
    client: httpx.AsyncClient
    events: list[dict[str, Any]] = attrs.field(factory=list)
    _logged: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _silent: bool = False

    @property
    def url(self) -> str:
        return next(str(e["url"]) for e in self.events if e["event"] == "bind")

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        rest = b""
        async for chunk in self.process.stderr:
            *lines, rest = (rest + chunk).split(b"\n")
            self.events += map(json.loads, lines)
            self._logged.unpark_all()
        self._silent = True
        self._logged.unpark_all()

    async def wait_event(self, *, after: int = 0, **fields: object) -> dict[str, Any]:
        """Wait for the first event since number `after` that has these fields."""
        while True:
            for event in self.events[after:]:
                if fields.items() <= event.items():
                    return event
            assert not self._silent, f"the agent ended without {fields}: {self.events}"
            await self._logged.park()

    async def wait_state(self, slug: str, state: str) -> dict[str, Any]:
        """Wait until the process enters a state; return its status."""
        await self.wait_event(event="state", slug=slug, state=state)
        return await self.status(slug)

    async def create(self, source_url: str, app: str = "app", **fields: Any) -> dict[str, Any]:
        asked = {
            "app": app,
            "node": "web.0",
            "process_type": "web",
            "source_url": source_url,
            **fields,
        }
        document = {name: value for name, value in asked.items() if value is not None}
        answer = await self.client.post("/create-process", json=document)
        assert answer.status_code == 201, answer.text
        status: dict[str, Any] = answer.json()
        return status

    async def status(self, slug: str) -> dict[str, Any]:
        answer = await self.client.get(f"/process-status/{slug}")
        document: dict[str, Any] = answer.json()
        return document

    async def delete(self, slug: str) -> None:
        answer = await self.client.post(f"/delete-process/{slug}", json={})
        assert (answer.status_code, answer.json()) == (200, {})

    @asynccontextmanager
    async def attach(self, slug: str, query: str = "") -> AsyncIterator[WebSocketConnection]:
        """Attach; the socket's stream is closed here, whoever closed the WebSocket first."""
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        stream = await trio.open_tcp_stream(host, int(port))
        async with stream, trio.open_nursery() as nursery:
            connection = await wrap_client_stream(
                nursery, stream, f"{host}:{port}", f"/attach-console/{slug}{query}"
            )
            yield connection
            await connection.aclose()

    async def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(by)
        return await self.process.wait()

    async def kill(self, by: signal.Signals) -> int:
        """Send a signal to an agent that stops already, until it counts as a second one."""
        while self.process.returncode is None:
            self.process.send_signal(by)
            with trio.move_on_after(0.2):
                await self.process.wait()
        return self.process.returncode


@asynccontextmanager
async def running_agent(
    *options: str, env: Mapping[str, str] | None = None, limit: float = LIMIT
) -> AsyncIterator[RunningAgent]:
    """Start the command on a free port; at the end it is stopped, if it still runs.

    limit: seconds for all that is done with it.
    """
    command = [sys.executable, "-m", "smartmob_agent", "--port=0", "--log-format=json", *options]
    with trio.fail_after(limit):
        async with trio.open_nursery() as nursery:
            start = partial(
                trio.run_process,
                command,
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                check=False,
                env={**os.environ, **(env or {})},
                # The agent ends by itself when it is asked to; a test that fails must not
                # leave it behind either.
                deliver_cancel=_kill,
            )
            process: trio.Process = await nursery.start(start)
            async with httpx.AsyncClient(timeout=LIMIT) as client:
                agent = RunningAgent(process, client)
                nursery.start_soon(agent.read_log)
                bind = await agent.wait_event(event="bind")
                client.base_url = httpx.URL(bind["url"])
                yield agent
            if process.returncode is None:
                assert await agent.stop() == 0
            assert process.stdout is not None
            assert await process.stdout.receive_some() == b"", "stdout stays empty"
            await process.stdout.aclose()


async def _kill(process: trio.Process) -> None:
    process.kill()


@asynccontextmanager
async def stuck_client(agent: RunningAgent, slug: str) -> AsyncIterator[trio.SocketStream]:
    """Attach a client that has its 101 and then never reads, with a small buffer."""
    host, port = agent.url.removeprefix("http://").rsplit(":", 1)
    sock = trio.socket.socket()
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
    await sock.connect((host, int(port)))
    async with trio.SocketStream(sock) as stream:
        request = (
            f"GET /attach-console/{slug} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await stream.send_all(request.encode())
        assert (await stream.receive_some(12)) == b"HTTP/1.1 101"
        yield stream


async def run_to_end(*options: str, env: Mapping[str, str] | None = None) -> Any:
    """Run the command until it ends by itself; return the completed process."""
    with trio.fail_after(LIMIT):
        return await trio.run_process(
            [sys.executable, "-m", "smartmob_agent", *options],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, **(env or {})},
        )


async def read_to_end(console: WebSocketConnection) -> tuple[list[str], int]:
    """Read all lines; return them and the code that the socket was closed with."""
    lines: list[str] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            lines.append(str(await console.get_message()))
    assert console.closed is not None
    return lines, int(console.closed.code)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"

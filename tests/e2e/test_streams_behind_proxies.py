"""All three streams through a real nginx and a real HAProxy, as they are when nobody tunes them."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
from trio_websocket import open_websocket_url

from tests.e2e.agent import LIMIT, RunningAgent, archive_server, running_agent, shell_app

IDLE = 3
"""Seconds after which the proxies cut what is quiet; the agent gives a sign each second."""
NGINX = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_proxied any;
    gzip_types *;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            proxy_read_timeout {idle}s;
        }}
        location /attach-console/ {{
            proxy_pass {upstream};
            proxy_read_timeout {idle}s;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 30s
    timeout client {idle}s
    timeout server {idle}s
    timeout tunnel {idle}s
    compression algo gzip
    compression type text/plain text/event-stream application/x-ndjson
frontend agent
    bind fd@{descriptor}
    default_backend agent
backend agent
    server agent {address}
"""
APP = "for i in 1 2 3; do read line < {fifo}; echo line $i; done; exec sleep 100000"

pytestmark = [pytest.mark.slow, pytest.mark.measures_children]


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def nginx(folder: Path, sock: socket.socket, url: str) -> tuple[list[str], dict[str, str]]:
    """Return how it is started, on a socket that it takes over as from its predecessor."""
    port = sock.getsockname()[1]
    text = NGINX.format(user=getpass.getuser(), folder=folder, port=port, upstream=url, idle=IDLE)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    command = [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    return command, {"NGINX": f"{sock.fileno()};"}


def haproxy(folder: Path, sock: socket.socket, url: str) -> tuple[list[str], dict[str, str]]:
    address = url.removeprefix("http://")
    text = HAPROXY.format(descriptor=sock.fileno(), address=address, idle=IDLE)
    (folder / "haproxy.cfg").write_text(text, encoding="utf-8")
    return [program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], {}


Proxy = Callable[[Path, socket.socket, str], tuple[list[str], dict[str, str]]]


@asynccontextmanager
async def behind(proxy: Proxy, folder: Path, agent: RunningAgent) -> AsyncIterator[str]:
    """Run a proxy before an agent; yield the address of the proxy.

    Its socket listens already, so nobody has to wait for it.
    """
    with socket.create_server(("127.0.0.1", 0)) as sock:
        command, environ = proxy(folder, sock, agent.url)
        start = partial(
            trio.run_process,
            command,
            env=environ,
            pass_fds=[sock.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(start)
            yield f"127.0.0.1:{sock.getsockname()[1]}"
            process.terminate()


class Reader:
    """What has come of one stream."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self.scope = trio.CancelScope()
        self._more = trio.lowlevel.ParkingLot()

    def add(self, text: str) -> None:
        self.text += text
        self._more.unpark_all()

    def end(self) -> None:
        self.ended = True
        self._more.unpark_all()

    async def wait(self, text: str, times: int = 1) -> None:
        """Wait until it has come so often."""
        while self.text.count(text) < times:
            assert not self.ended, f"the stream ended after {self.text!r}"
            await self._more.park()

    async def read_http(self, url: str) -> None:
        """Read an answer, which the proxy may have compressed."""
        with self.scope:
            async with (
                httpx.AsyncClient(timeout=LIMIT) as client,
                client.stream("GET", url) as answer,
            ):
                assert answer.status_code == 200
                async for part in answer.aiter_text():
                    self.add(part)
            self.end()

    async def read_socket(self, url: str) -> None:
        async with open_websocket_url(url) as client:
            while True:
                self.add(f"{await client.get_message()!s}\n")


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[int]:
    """A FIFO that is open at both ends: neither we nor the app wait for each other to open it."""
    os.mkfifo(tmp_path / "fifo")
    fd = os.open(tmp_path / "fifo", os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.mark.parametrize("proxy", [nginx, haproxy])
async def test_streams_come_line_by_line_and_stay(tmp_path: Path, proxy: Proxy, fifo: int) -> None:
    """Each line before the next one is written, and more after a quiet time that is too long."""
    program(proxy.__name__)
    async with (
        archive_server() as server,
        running_agent("--ping-interval=1") as agent,
        behind(proxy, tmp_path, agent) as address,
        trio.open_nursery() as nursery,
    ):
        await agent.create(server.add("app", shell_app(APP.format(fifo=tmp_path / "fifo"))))
        slug, http = "app.web.0", f"http://{address}"
        text, records, events, console = (Reader() for _ in range(4))
        nursery.start_soon(text.read_http, f"{http}/process-log/{slug}?follow=1")
        nursery.start_soon(records.read_http, f"{http}/process-log/{slug}?follow=1&format=ndjson")
        nursery.start_soon(events.read_http, f"{http}/events?slug={slug}")
        nursery.start_soon(console.read_socket, f"ws://{address}/attach-console/{slug}?tail=10")
        await events.wait('"state": "running"')
        for line in ("line 1\n", "line 2\n"):
            os.write(fifo, b"x\n")
            await text.wait(line)
            await records.wait(line.strip())
            await console.wait(line)
        text.scope.cancel()  # it has no sign of life, so the proxy would cut it
        quiet = IDLE + 2
        seen = events.text.count("\n: ")
        await events.wait("\n: ", seen + quiet)
        await records.wait(" " * quiet)
        os.write(fifo, b"x\n")
        await records.wait("line 3")
        await console.wait("line 3\n")
        answer = await agent.client.post(f"/restart-process/{slug}")
        assert answer.status_code < 300
        await events.wait('"restarts": 1')
        nursery.cancel_scope.cancel()
    # `running_agent` has seen it stop: nothing of those streams was left.
    ends = [e["path"] for e in agent.events if e["event"] == "request"]
    assert ends.count(f"/process-log/{slug}") == 2


@pytest.mark.parametrize("proxy", [nginx, haproxy])
async def test_a_client_that_leaves_its_proxy_is_noticed(tmp_path: Path, proxy: Proxy) -> None:
    """Also by text, which is quiet, and so has nothing that a proxy could not deliver."""
    program(proxy.__name__)
    async with (
        archive_server() as server,
        running_agent("--ping-interval=1") as agent,
        behind(proxy, tmp_path, agent) as address,
    ):
        await agent.create(server.add("app", shell_app("echo once; exec sleep 100000")))
        slug = "app.web.0"
        for path in (f"/process-log/{slug}", "/events"):
            reader = Reader()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.read_http, f"http://{address}{path}?follow=1")
                await reader.wait("once" if "log" in path else "snapshot")
                nursery.cancel_scope.cancel()
            await agent.wait_event(event="request", path=path, status=200)

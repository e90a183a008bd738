"""Behind a real nginx that speaks TLS: requests and WebSockets."""

from __future__ import annotations

import getpass
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from trio_websocket import open_websocket_url

from smartmob_agent.config.settings import AgentConfig, Security
from smartmob_agent.http.body_limits import Bodies
from smartmob_agent.http.listeners import open_listeners
from smartmob_agent.http.middleware.stack import open_middleware
from smartmob_agent.http.middleware.traffic import Traffic
from smartmob_agent.http.server import serve_http

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
LIMIT = 60
CONFIG = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    keepalive_timeout 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/cert.pem;
        location / {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(NGINX is None, reason="nginx is not installed")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Tell who asks, by which scheme and of which host."""
    host = dict(scope["headers"])[b"host"].decode().partition(":")[0]
    text = f"{scope['client'][0]} {scope['scheme']} {host}"
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text})
        while (await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": "again"})
        return
    length = str(len(text)).encode()
    headers = [(b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


@asynccontextmanager
async def running_nginx(folder: Path, upstream: str, sock: socket.socket) -> AsyncIterator[None]:
    """Run nginx in the foreground on a socket that listens already: nobody has to wait for it."""
    port, descriptor = sock.getsockname()[1], sock.fileno()
    text = CONFIG.format(user=getpass.getuser(), folder=folder, port=port, upstream=upstream)
    await trio.Path(folder / "nginx.conf").write_text(text)
    start = partial(
        trio.run_process,
        [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")],
        env={"NGINX": f"{descriptor};"},  # as it hands them to its successor
        pass_fds=[descriptor],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    async with trio.open_nursery() as nursery:
        process = await nursery.start(start)
        yield
        process.terminate()


@asynccontextmanager
async def agent_behind_nginx(
    folder: Path, *, unix: bool
) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """Yield the port of nginx and what a client needs to trust it."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(folder / "cert.pem")
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    config = AgentConfig(
        port=0,
        unix=folder / "agent.sock" if unix else None,
        public_url=f"https://127.0.0.1:{port}",
        security=Security(trusted_proxies=("unix" if unix else "127.0.0.1",)),
    )
    stop = trio.Event()
    with sock, trio.fail_after(LIMIT):
        async with open_listeners(config) as listeners:
            url = f"http://{listeners[-1].url}:" if unix else listeners[-1].url
            async with trio.open_nursery() as nursery:
                gated = open_middleware(config).wrap(app, Traffic())
                await nursery.start(
                    partial(
                        serve_http,
                        gated,
                        listeners,
                        limits=config.http,
                        bodies=Bodies(config.http),
                        stop=stop,
                    )
                )
                async with running_nginx(folder, url, sock):
                    yield port, context
                stop.set()


async def get(port: int, context: ssl.SSLContext, **headers: str) -> bytes:
    """Send a request, `_` in names standing for `-`; return all that comes."""
    headers = {"Host": f"127.0.0.1:{port}", "Connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    stream = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", port, ssl_context=context, https_compatible=True
    )
    data = b""
    async with stream:
        await stream.send_all(f"GET / HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
        while piece := await stream.receive_some():
            data += piece
    return data


@pytest.mark.parametrize("unix", [False, True])
async def test_requests_and_websockets_come_through(tmp_path: Path, *, unix: bool) -> None:
    """With the scheme and the address that nginx saw, by TCP and by a Unix socket."""
    async with agent_behind_nginx(tmp_path, unix=unix) as (port, context):
        answer = await get(port, context)
        assert answer.endswith(b"\r\n127.0.0.1 https 127.0.0.1")
        async with open_websocket_url(f"wss://127.0.0.1:{port}/", context) as client:
            assert await client.get_message() == "127.0.0.1 wss 127.0.0.1"
            await client.send_message("x")
            assert await client.get_message() == "again"


async def test_a_page_of_the_agent_may_ask_and_another_may_not(tmp_path: Path) -> None:
    """The origin is that of the public URL."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "A" * 22 + "==",
    }
    async with agent_behind_nginx(tmp_path, unix=False) as (port, context):
        own = f"https://127.0.0.1:{port}"
        answers = [
            await get(port, context, Origin=own),
            await get(port, context, Origin="https://evil.example"),
            await get(port, context, Origin="https://evil.example", **upgrade),
        ]
        assert [int(answer[9:12]) for answer in answers] == [200, 403, 403]
        async with open_websocket_url(
            f"wss://127.0.0.1:{port}/", context, extra_headers=[(b"Origin", own.encode())]
        ) as client:
            assert await client.get_message() == "127.0.0.1 wss 127.0.0.1"

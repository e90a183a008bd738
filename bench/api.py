"""The HTTP API: our server beside stock hypercorn with the same application, in one run.

    python bench/api.py                  all, three repeats, medians
    python bench/api.py --small          does it work?

- requests a second for the list of 100 processes, by 8 connections that are kept alive, from
  our server and from hypercorn.trio.serve; both run the agent's own application on fakes
- the same from Supervisor's XML-RPC, if `supervisord` is on the PATH
- latency of the index while a child floods its output to 10 clients

All is on 127.0.0.1, and every load is bounded.  Client and server share the machine: figures
of one run may be compared with each other, and a busy machine spoils them.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import io
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

SERVER = """
import logging, sys
from functools import partial
import trio
from hypercorn.config import Config
from hypercorn.trio import serve as stock_serve
from smartmob_agent.http.middleware.traffic import Traffic
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.api.app import make_app
from smartmob_agent.http.middleware.stack import open_middleware
from smartmob_agent.http.server import serve_http
from smartmob_agent.http.listeners import open_listeners
from smartmob_agent.process.spec import ProcessSpec
from tests.api.asgi import make_context
from tests.process.world import World

async def main():
    world, config = World(), AgentConfig(port=0)
    async with world.open() as supervisor:
        for number in range(100):
            supervisor.create(ProcessSpec(app="app", node=f"web.{number}", process_type="web",
                source_url="http://127.0.0.1/app.zip", request_id="bench"))
        app = make_app(make_context(supervisor, config), own_url="http://127.0.0.1")
        app = open_middleware(config).wrap(app, Traffic())
        async with trio.open_nursery() as nursery:
            if sys.argv[1] == "ours":
                async with open_listeners(config) as listeners:
                    await nursery.start(partial(serve_http, app, listeners, limits=config.http,
                                                stop=trio.Event()))
                    print(listeners[0].url, flush=True)
                    await trio.sleep_forever()
            stock = Config()
            stock.bind = ["127.0.0.1:0"]
            urls = await nursery.start(partial(stock_serve, app, stock,
                                               shutdown_trigger=trio.sleep_forever))
            print(urls[0], flush=True)

logging.disable()
trio.run(main)
"""
FLOOD = "while :; do echo a line of output that everybody reads as fast as it comes; done"
CONNECTIONS = 8


@contextmanager
def server(kind: str) -> Iterator[int]:
    """Run a server with 100 processes; yield its port."""
    command = [sys.executable, "-c", SERVER, kind]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().rsplit(":", 1)[1])
        finally:
            process.kill()


def hammer(ask: Callable[[], Callable[[], None]], seconds: float) -> float:
    """Ask by some connections at once; return requests a second."""
    counts = [0] * CONNECTIONS
    end = time.perf_counter() + seconds

    def run(number: int) -> None:
        once = ask()
        while time.perf_counter() < end:
            once()
            counts[number] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CONNECTIONS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def raw_asker(port: int, path: str) -> Callable[[], None]:
    """A client that costs as little as it can: it counts bytes, once it knows their number."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    head, length = b"", 0
    sock.sendall(request)
    while b"\r\n\r\n" not in head:
        head += sock.recv(65536)
    head, _, body = head.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0].startswith(b"http/1.1 200"), head
    length = next(int(x.split(b":")[1]) for x in lines if x.startswith(b"content-length:"))
    total = len(head) + 4 + length
    rest = length - len(body)
    while rest:
        rest -= len(sock.recv(rest))

    def ask() -> None:
        sock.sendall(request)
        left = total
        while left > 0:
            data = sock.recv(min(left, 65536))
            assert data, "the server closed a connection"
            left -= len(data)

    return ask


def bench_list(seconds: float, repeats: int) -> None:
    """Requests a second for the list: ours and hypercorn take turns."""
    figures: dict[str, list[float]] = {"ours": [], "hypercorn": []}
    for _ in range(repeats):
        for kind, found in figures.items():
            with server(kind) as port:
                hammer(partial(raw_asker, port, "/list-processes"), seconds / 4)
                found.append(hammer(partial(raw_asker, port, "/list-processes"), seconds))
    ours, stock = (statistics.median(found) for found in figures.values())
    print(f"list of 100 processes, requests/s: ours {ours:.0f}, hypercorn {stock:.0f}")
    print(f"  ours / hypercorn = {ours / stock:.2f} (at least 0.90 is wanted)")


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until somebody listens, for ten seconds."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server does not begin to listen")


def bench_supervisor(seconds: float) -> None:
    """The same question to Supervisor."""
    program = shutil.which("supervisord")
    if program is None:
        print("Supervisor: not installed, left out")
        return
    port = unused_port()
    with tempfile.TemporaryDirectory() as folder:
        programs = "".join(
            f"[program:p{n}]\ncommand=sleep 1000\nautostart=false\n" for n in range(100)
        )
        config = Path(folder) / "supervisord.conf"
        config.write_text(
            f"[supervisord]\nnodaemon=true\nlogfile={folder}/log\npidfile={folder}/pid\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[inet_http_server]\nport=127.0.0.1:{port}\n{programs}"
        )
        process = subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL)
        try:
            wait_for(port)
            proxy = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/RPC2")
            count, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                assert len(proxy.supervisor.getAllProcessInfo()) == 100  # type: ignore[arg-type]
                count += 1
            rate = count / (time.perf_counter() - began)
            print(f"Supervisor's XML-RPC, one connection, requests/s: {rate:.0f}")
        finally:
            process.terminate()
            process.wait()


@contextmanager
def archive() -> Iterator[str]:
    """Serve the app that floods."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in (("Procfile", "web: exec sh ./run.sh\n"), ("run.sh", FLOOD)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(buffer.tell()))
            self.end_headers()
            self.wfile.write(buffer.getvalue())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}/app.tar.gz"
        finally:
            httpd.shutdown()


def attach(port: int) -> None:
    """Read a console as fast as it comes, until the agent ends."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(
            b"GET /attach-console/app.web.0 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        try:
            while sock.recv(1 << 20):
                pass
        except OSError:
            pass


def bench_index(seconds: float) -> None:
    """Latency of the index while a child floods its output to 10 clients."""
    port = unused_port()
    command = [sys.executable, "-m", "smartmob_agent", f"--port={port}", "--log-level=error"]
    with archive() as url, subprocess.Popen(command) as agent:
        try:
            wait_for(port)
            body = (
                f'{{"app": "app", "node": "web.0", "process_type": "web", "source_url": "{url}"}}'
            )
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", "/create-process", body)
            assert connection.getresponse().read()
            for _ in range(10):
                threading.Thread(target=attach, args=(port,), daemon=True).start()
            time.sleep(1)
            ask, times = raw_asker(port, "/"), []
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                if len(times) % 500 == 499:  # A connection has 1000 requests at most.
                    ask = raw_asker(port, "/")
                began = time.perf_counter()
                ask()
                times.append((time.perf_counter() - began) * 1000)
                time.sleep(0.002)
        finally:
            agent.terminate()
    times.sort()
    middle, high = times[len(times) // 2], times[int(len(times) * 0.99)]
    print(f"index during a flood to 10 clients, {len(times)} requests:")
    print(f"  median {middle:.1f} ms, p99 {high:.1f} ms (under 20 is wanted), max {times[-1]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="less of everything")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    seconds, repeats = (0.5, 1) if options.small else (5.0, options.repeats)
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {sys.version.split()[0]}")
    bench_list(seconds, repeats)
    bench_supervisor(seconds)
    bench_index(seconds)


if __name__ == "__main__":
    main()

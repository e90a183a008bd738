"""The console beside websocketd, in one run: frames a second, latency, drain, stuck clients.

    python bench/console.py                  all, three repeats, medians
    python bench/console.py --small          does it work?
    python bench/console.py --only latency --repeats 5

websocketd comes from Debian's package of that name and is left out where it is missing.
The children write lines that are known beforehand; clients compare every byte, so that a
line which is lost, doubled or damaged ends the run.  All is on 127.0.0.1, and every load is
bounded.  Figures of one run may be compared with each other; a busy machine spoils them.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import http.server
import io
import json
import os
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

MIB = 1 << 20
TEXT = bytes(ord("a") + i % 26 for i in range(70))
BLOCK_LINES = 800
LINE_BYTES = 80

# Waits for a file, so that nothing starts before all clients are attached.
CHILD = """
import os, sys, time
kind, go, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
block = b"".join(b"%09d " % i + bytes(97 + j % 26 for j in range(70)) + b"\\n" for i in range(800))
def put(data):
    while data:
        data = data[os.write(1, data):]
while not os.path.exists(go):
    time.sleep(0.002)
begin = time.monotonic_ns()
if kind == "flood":
    for _ in range(count):
        put(block)
else:
    for n in range(count):
        while (now := time.monotonic_ns()) < begin + n * 1000000:
            time.sleep((begin + n * 1000000 - now) / 1e9)
        put(b"%019d\\n" % time.monotonic_ns())
open(go + ".done", "w").write(str(time.monotonic_ns() - begin))
time.sleep(600)
"""


@dataclass(frozen=True)
class Size:
    """How much load: blocks of 800 lines of 80 bytes."""

    stream: dict[int, int]
    ticks: int
    drain_bytes: int
    stuck_bytes: int


FULL = Size({1: 600, 10: 250, 100: 60}, 3000, 1 << 30, 200 * MIB)
SMALL = Size({1: 20, 10: 5, 100: 1}, 200, 32 * MIB, 16 * MIB)
LARGE_CONSOLE = f"--console-bytes={64 * MIB}"
Figure = tuple[str, float, str]


def block_frames() -> bytes:
    """Return what a client must get for one block."""
    lines = [b"%09d " % i + TEXT for i in range(BLOCK_LINES)]
    return b"".join(bytes((0x81, len(line))) + line for line in lines)


class Client:
    """A WebSocket client that compares what it reads with what must come."""

    def __init__(self, url: str, *, receive_buffer: int = 0) -> None:
        to = urlsplit(url)
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect((to.hostname, to.port))
        self.sock.sendall(
            f"GET {to.path or '/'} HTTP/1.1\r\nHost: {to.netloc}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.sock.recv(1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head.decode("latin-1"))
        self.seen = 0

    def read(self, expected: bytes, total: int) -> bool:
        """Read once and compare; return whether all has come."""
        if not (data := self.sock.recv(MIB)):
            raise ConnectionError(f"closed after {self.seen} of {total} bytes")
        at = self.seen % len(expected)
        here = (expected + expected)[at : at + len(data)]
        while len(here) < len(data):
            here += expected
        if here[: len(data)] != data:
            raise ValueError(f"damaged or lost behind byte {self.seen}: {data[:60]!r}")
        self.seen += len(data)
        return self.seen >= total


class Websocketd:
    """A child for each connection."""

    name = "websocketd"
    fan_out = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemon: subprocess.Popen[bytes] | None = None

    def launch(self, *child: str) -> str:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        self.daemon = subprocess.Popen(
            [
                *("websocketd", "--address=127.0.0.1", f"--port={port}", "--loglevel=fatal"),
                *(sys.executable, "-S", str(self.folder / "child.py"), *child),
            ]
        )
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return f"ws://127.0.0.1:{port}/"
            time.sleep(0.01)

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait()

    @property
    def pid(self) -> int:
        assert self.daemon is not None
        return self.daemon.pid


class Agent:
    """The agent, with the options that were given for it."""

    name = "smartmob-agent"
    fan_out = True

    def __init__(self, folder: Path, options: list[str]) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "smartmob_agent", "--port=0", "--stop-timeout=0"]
        self.daemon = subprocess.Popen([*command, *options], stderr=subprocess.PIPE)
        assert self.daemon.stderr is not None
        found = re.search(rb"event=bind url=(\S+)", self.daemon.stderr.readline())
        assert found is not None
        self.url = found[1].decode()
        threading.Thread(target=self.daemon.stderr.read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self.daemon.pid

    def launch(self, *child: str) -> str:
        body = self._archive(child)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        order = {
            "app": "bench",
            "node": "0",
            "process_type": "web",
            "source_url": f"http://127.0.0.1:{server.server_port}/",
        }
        status = self._call("POST", "/create-process", json.dumps(order))
        while status["state"] != "running":
            time.sleep(0.01)
            status = self._call("GET", "/process-status/bench.0")
        server.shutdown()
        server.server_close()
        return str(status["attach"])

    def close(self) -> None:
        self.daemon.terminate()
        self.daemon.wait()

    def _archive(self, child: tuple[str, ...]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            command = " ".join([sys.executable, "-S", str(self.folder / "child.py"), *child])
            data = f"web: exec {command}\n".encode()
            member = tarfile.TarInfo("Procfile")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        return buffer.getvalue()

    def _call(self, method: str, path: str, body: str | None = None) -> dict[str, object]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc)
        connection.request(method, path, body)
        answer: dict[str, object] = json.loads(connection.getresponse().read())
        connection.close()
        return answer


System = Agent | Websocketd
Open = Callable[[list[str]], System]


@contextlib.contextmanager
def opened(make: Open, *options: str) -> Iterator[System]:
    system = make([*options])
    try:
        yield system
    finally:
        system.close()


def receive(clients: list[Client], expected: bytes, total: int) -> float:
    """Read until each client has all; return the seconds since the first had something."""
    begin = 0.0
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.sock, selectors.EVENT_READ, client)
        while selector.get_map():
            ready = selector.select()
            begin = begin or time.monotonic()
            for key, _ in ready:
                if key.data.read(expected, total):
                    selector.unregister(key.fileobj)
    return time.monotonic() - begin


def stream(make: Open, go: Path, size: Size) -> Iterator[Figure]:
    """Lines to 1, 10 and 100 clients, as fast as they go.

    No client slows the agent's child, so one that is slower than the child is closed as soon
    as the console has dropped what comes next: here it keeps the whole output.
    """
    expected = block_frames()
    for count, blocks in size.stream.items():
        with opened(make, LARGE_CONSOLE) as system:
            url = system.launch("flood", str(go), str(blocks))
            clients = [Client(url) for _ in range(count)]
            time.sleep(0.5)
            go.touch()
            took = receive(clients, expected, blocks * len(expected))
            for client in clients:
                client.sock.close()
        go.unlink()
        yield f"frames/s to {count}", blocks * BLOCK_LINES * count / took, "1/s"


def latency(make: Open, go: Path, size: Size) -> Iterator[Figure]:
    """From the child's write to the client's read, at 1000 lines a second."""
    with opened(make) as system:
        client = Client(system.launch("tick", str(go), str(size.ticks)))
        time.sleep(0.5)
        go.touch()
        delays: list[float] = []
        data = b""
        while len(delays) < size.ticks:
            data += client.sock.recv(MIB)
            now = time.monotonic_ns()
            while len(data) >= 21:
                delays.append((now - int(data[2:21])) / 1e3)
                data = data[21:]
        client.sock.close()
    go.unlink()
    delays.sort()
    yield "latency p50", delays[len(delays) // 2], "us"
    yield "latency p99", delays[len(delays) * 99 // 100], "us"


def drain(make: Open, go: Path, size: Size) -> Iterator[Figure]:
    """Output that nobody reads."""
    blocks = size.drain_bytes // (BLOCK_LINES * (LINE_BYTES + 1))
    with opened(make) as system:
        if not system.fan_out:
            return
        system.launch("flood", str(go), str(blocks))
        time.sleep(0.5)
        took = run_child(go)
    yield "drain", blocks * BLOCK_LINES * (LINE_BYTES + 1) / took * 1e3, "MB/s"


def run_child(go: Path) -> int:
    """Let the child begin; return the nanoseconds that it took."""
    done = Path(f"{go}.done")
    go.touch()
    while not (done.exists() and done.read_text()):
        time.sleep(0.05)
    took = int(done.read_text())
    done.unlink()
    go.unlink()
    return took


def stuck(make: Open, go: Path, size: Size) -> Iterator[Figure]:
    """100 clients that never read, while the child goes on."""
    blocks = size.stuck_bytes // (BLOCK_LINES * (LINE_BYTES + 1))
    with opened(make) as system:
        if not system.fan_out:
            return
        url = system.launch("flood", str(go), str(blocks))
        time.sleep(0.5)
        clients = [Client(url, receive_buffer=4096) for _ in range(100)]
        time.sleep(0.5)
        before = resident(system.pid)
        run_child(go)
        time.sleep(0.5)
        yield "RSS growth with 100 stuck", (resident(system.pid) - before) / 1024, "MiB"
        for client in clients:
            client.sock.close()


def resident(pid: int) -> int:
    """KiB of memory that a process has."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1])


TESTS = {"stream": stream, "latency": latency, "drain": drain, "stuck": stuck}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--small", action="store_true", help="little load: does it work?")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=TESTS, action="append")
    parser.add_argument("--agent-option", action="append", default=[], metavar="OPTION")
    options = parser.parse_args()
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "child.py").write_text(CHILD, encoding="utf-8")
        makes: list[tuple[str, Open]] = [
            (Agent.name, lambda more: Agent(folder, [*more, *options.agent_option]))
        ]
        if shutil.which("websocketd"):
            makes.append((Websocketd.name, lambda _more: Websocketd(folder)))
        for _ in range(options.repeats):
            for test in options.only or TESTS:
                for system, make in makes:
                    size = SMALL if options.small else FULL
                    for metric, value, unit in TESTS[test](make, folder / "go", size):
                        print(f"{system:15} {metric:28} {value:14,.1f} {unit}", flush=True)
                        values[metric, unit, system].append(value)
    print("\nmedians of", options.repeats)
    for (metric, unit, system), found in values.items():
        print(f"{metric:28} {system:15} {statistics.median(found):14,.1f} {unit}")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()

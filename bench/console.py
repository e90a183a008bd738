"""The console beside websocketd and PM2, in one run: frames, latency, drain, stuck clients.

    python bench/console.py                  all, three repeats
    python bench/console.py --small          does it work?
    python bench/console.py --only latency --repeats 5

frames    Lines of 80 bytes to 1, 10 and 100 clients.  websocketd's children write as fast as
          their clients read.  The agent's child waits for nobody, which is measured twice: with
          clients that tell the child how far they have read, so that it is never further ahead
          than the console holds by default; and "free", with a console that holds all.
latency   From the child's write to the client's read, at 1000 lines a second.
drain     1 GiB of output that nobody reads, in the time until the child has written it.
stuck     How much the agent grows while 100 clients do not read and a child writes 200 MiB.

The clients know each byte that must come and compare all of them: what is lost, doubled or
damaged ends the run.  All is on 127.0.0.1, and every load is bounded.  The children are compiled,
which takes a C compiler; websocketd and PM2 are left out where they are missing:

    apt-get install websocketd
    npm install --prefix DIR pm2                 and PATH=DIR/node_modules/.bin:$PATH

Systems take turns.  Figures of one run may be compared with each other; a busy machine spoils
them, and the two processors that are needed at least are all that is measured.
"""

from __future__ import annotations

import argparse
import os
import re
import selectors
import shutil
import socket
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from console_systems import SYSTEMS, Agent, Pm2, System, Websocketd, build_child

MIB = 1 << 20
LINE_BYTES = 80
BLOCK_BYTES = 65536
WINDOW_BLOCKS = 12
"""So far ahead of its slowest client a child may be: less than the console holds by default."""
FRAME_HEAD = bytes((0x81, LINE_BYTES))
CLIENTS = (1, 10, 100)


@dataclass(frozen=True)
class Size:
    """How much load."""

    lines: dict[int, int]
    ticks: int
    drain_bytes: int
    stuck_bytes: int


FULL = Size(dict(zip(CLIENTS, (480_000, 200_000, 50_000), strict=True)), 3000, 1 << 30, 200 * MIB)
SMALL = Size(dict(zip(CLIENTS, (16_000, 4_000, 2_000), strict=True)), 200, 32 * MIB, 16 * MIB)
STUCK_MIB = 1 + 100 * 64 / 1024

# Metric → what it must be at least or at most: a factor, and whose figure, or a plain number.
WANTED: dict[str, list[tuple[str, float, str]]] = {
    **{
        f"{kind}frames/s to {count}": [(">=", factor, Websocketd.name)]
        for kind in ("", "free ")
        for count, factor in zip(CLIENTS, (15, 15, 20), strict=True)
    },
    "latency p50": [("<=", 1, Websocketd.name)],
    "latency p99": [("<=", 3, Websocketd.name)],
    "drain": [(">=", 1000, ""), (">=", 2.5, Pm2.name)],
    "growth with 100 stuck": [("<=", STUCK_MIB, "")],
}

Figure = tuple[str, float, str]


class Lab:
    """One test of one system."""

    def __init__(self, make: Callable[..., System], folder: Path, binary: str, size: Size) -> None:
        self.make, self.size = make, size
        self._folder, self._binary = folder, binary
        self._go = folder / "go"

    @contextmanager
    def opened(self, *options: str) -> Iterator[System]:
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            system = self.make(Path(name), [*options])
            with closing(system):
                yield system

    def launch(self, system: System, *work: str) -> str:
        return system.launch(self._binary, str(self._go), *work)

    def begin(self) -> None:
        time.sleep(0.5)  # what came before has come to rest
        self._go.touch()

    def wait_done(self) -> float:
        """Return the seconds that the child took."""
        done = Path(f"{self._go}.done")
        while not (done.exists() and done.read_text()):
            time.sleep(0.02)
        return int(done.read_text()) / 1e9

    def reset(self) -> None:
        Path(f"{self._go}.done").unlink(missing_ok=True)
        self._go.unlink(missing_ok=True)

    @contextmanager
    def credit(self) -> Iterator[tuple[str, int]]:
        """Open a named pipe for what the clients allow the child; its path and descriptor."""
        path = str(self._folder / "credit")
        os.mkfifo(path)
        fd = os.open(path, os.O_RDWR)
        try:
            yield path, fd
        finally:
            os.close(fd)
            os.unlink(path)  # noqa: PTH108 -- a path for the child's command line


class Client:
    """A WebSocket client that compares what it reads with what must come."""

    buffer = memoryview(bytearray(MIB))

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

    def read(self, expected: bytes) -> bool:
        """Read once and compare; return whether all has come."""
        count = self.sock.recv_into(self.buffer)
        if not count:
            raise ConnectionError(f"closed after {self.seen} of {len(expected)} bytes")
        if not expected.startswith(self.buffer[:count], self.seen):
            found = bytes(self.buffer[: min(count, 60)])
            raise ValueError(f"damaged or lost behind byte {self.seen}: {found!r}")
        self.seen += count
        return self.seen == len(expected)


def all_frames(lines: int) -> bytes:
    """Return what a client must get."""
    text = bytes(ord("a") + i % 26 for i in range(70))
    return b"".join([b"%b%09d %b" % (FRAME_HEAD, number, text) for number in range(lines)])


def receive(clients: list[Client], expected: bytes, credit: int | None) -> float:
    """Read until each client has all; return the seconds since the first had something.

    credit: where to tell the child how far the slowest has come.
    """
    begin, allowed = 0.0, 0
    block = BLOCK_BYTES * (LINE_BYTES + len(FRAME_HEAD)) // (LINE_BYTES + 1)
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.sock, selectors.EVENT_READ, client)
        while selector.get_map():
            if credit is not None:
                blocks = min(client.seen for client in clients) // block + WINDOW_BLOCKS
                if blocks > allowed:
                    os.write(credit, bytes(blocks - allowed))
                    allowed = blocks
            ready = selector.select()
            begin = begin or time.monotonic()
            for key, _ in ready:
                if key.data.read(expected):
                    selector.unregister(key.fileobj)
    return time.monotonic() - begin


def frames(lab: Lab) -> Iterator[Figure]:
    for count, lines in lab.size.lines.items():
        expected = all_frames(lines)
        if lab.make is Agent:
            with lab.credit() as (path, credit):
                rate = frame_rate(lab, count, expected, (path,), credit, ())
            yield f"frames/s to {count}", rate, "1/s"
            console = f"--console-bytes={2 * len(expected)}"
            yield (
                f"free frames/s to {count}",
                frame_rate(lab, count, expected, (), None, (console,)),
                "1/s",
            )
        elif lab.make is Websocketd:
            rate = frame_rate(lab, count, expected, (), None, ())
            yield f"frames/s to {count}", rate, "1/s"


def frame_rate(
    lab: Lab,
    count: int,
    expected: bytes,
    work: tuple[str, ...],
    credit: int | None,
    options: tuple[str, ...],
) -> float:
    lines = len(expected) // (LINE_BYTES + len(FRAME_HEAD))
    with lab.opened(*options) as system:
        url = lab.launch(system, "flood", str(lines), *work)
        clients = [Client(url) for _ in range(count)]
        lab.begin()
        took = receive(clients, expected, credit)
        for client in clients:
            client.sock.close()
    lab.reset()
    return lines * count / took


def latency(lab: Lab) -> Iterator[Figure]:
    if lab.make is Pm2:
        return
    with lab.opened() as system:
        client = Client(lab.launch(system, "tick", str(lab.size.ticks)))
        lab.begin()
        delays: list[float] = []
        data = b""
        while len(delays) < lab.size.ticks:
            data += client.sock.recv(MIB)
            now = time.monotonic_ns()
            while len(data) >= len(FRAME_HEAD) + LINE_BYTES:
                if not data.startswith(b"%b%09d " % (FRAME_HEAD, len(delays))):
                    raise ValueError(f"damaged or lost: {data[:60]!r}")
                delays.append((now - int(data[12:31])) / 1e3)
                data = data[len(FRAME_HEAD) + LINE_BYTES :]
        client.sock.close()
    lab.reset()
    delays.sort()
    yield "latency p50", delays[len(delays) // 2], "us"
    yield "latency p99", delays[len(delays) * 99 // 100], "us"


def drain(lab: Lab) -> Iterator[Figure]:
    if lab.make is Websocketd:
        return
    lines = lab.size.drain_bytes // (LINE_BYTES + 1)
    with lab.opened() as system:
        lab.launch(system, "flood", str(lines))
        lab.begin()
        took = lab.wait_done()
    lab.reset()
    yield "drain", lines * (LINE_BYTES + 1) / took / 1e6, "MB/s"


def stuck(lab: Lab) -> Iterator[Figure]:
    if lab.make is not Agent:
        return
    lines = lab.size.stuck_bytes // (LINE_BYTES + 1)
    with lab.opened() as system:
        url = lab.launch(system, "flood", str(lines))
        clients = [Client(url, receive_buffer=4096) for _ in range(100)]
        time.sleep(0.5)
        before = resident(system.pid)
        lab.begin()
        lab.wait_done()
        time.sleep(0.5)
        yield "growth with 100 stuck", (resident(system.pid) - before) / 1024, "MiB"
        for client in clients:
            client.sock.close()
    lab.reset()


def resident(pid: int) -> int:
    """KiB of memory that a process has."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    return int(found[1])


TESTS = {"frames": frames, "latency": latency, "drain": drain, "stuck": stuck}
Values = dict[tuple[str, str], list[float]]


def judge(metric: str, value: float, values: Values) -> str:
    """Say what is wanted of the agent, and whether it is so."""
    said = []
    for relation, factor, peer in WANTED.get(metric, []):
        if peer and not values.get((metric.removeprefix("free "), peer)):
            said.append(f"{peer} is missing")
            continue
        base = statistics.median(values[metric.removeprefix("free "), peer]) if peer else 1
        good = value >= factor * base if relation == ">=" else value <= factor * base
        is_now = f", is {value / base:.1f}" if peer else ""
        wanted = f"{factor:g} of {peer}{is_now}" if peer else f"{factor:,g}"
        said.append(f"{relation} {wanted}: {'ok' if good else 'NOT'}")
    return "; ".join(said)


def report(values: Values, units: dict[str, str]) -> None:
    print(f"\n{'':24} {'':15} {'least':>12} {'median':>12} {'most':>12}")
    for (metric, system), found in values.items():
        middle = statistics.median(found)
        figures = " ".join(f"{value:12,.1f}" for value in (min(found), middle, max(found)))
        verdict = judge(metric, middle, values) if system == Agent.name else ""
        print(f"{metric:24} {system:15} {figures} {units[metric]:5} {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="little load: does it work?")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=TESTS, action="append")
    options = parser.parse_args()
    values: Values = defaultdict(list)
    units: dict[str, str] = {}
    systems = [system for system in SYSTEMS if shutil.which(system.program)]
    for system in SYSTEMS:
        if system not in systems:
            print(f"without {system.name}: {system.package}")
    with tempfile.TemporaryDirectory() as name:
        binary = build_child(Path(name))
        for _ in range(options.repeats):
            for test in options.only or TESTS:
                for make in systems:
                    lab = Lab(make, Path(name), binary, SMALL if options.small else FULL)
                    for metric, value, unit in TESTS[test](lab):
                        print(f"{make.name:15} {metric:24} {value:14,.1f} {unit}", flush=True)
                        values[metric, make.name].append(value)
                        units[metric] = unit
    report(values, units)


if __name__ == "__main__":
    main()

"""Crash loops: a day of one in no time, and 200 of them at once beside clients.

    python bench/restarts.py              all
    python bench/restarts.py --small      does it work?

- 24 hours of a crash loop on fakes and the virtual clock: seconds of real time, best and worst
- 200 processes whose children end at once, under the real command with its default limit of
  50 starts a second, with the delays of before a restart as they are, and with none, so that all
  want to start all the time: starts in the busiest second, by what the children say
  themselves; starts of the process that had fewest and of the one that had most; and how long
  the API takes to answer meanwhile, beside an agent that has nothing to do

All is on 127.0.0.1.  Children, client and agent share the machine, and a busy one spoils the
figures.  The targets, which it says of each figure whether it meets: a day in less than a second,
no second with more than 50 starts (the children tell of their start with some delay, so one or two
may move into a neighbouring second), all processes within one start of each other while none has a
delay, and no answer later than 50 ms.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.process.world import World, make_spec

ROOT = Path(__file__).parent.parent

COMMAND = "from smartmob_agent.agent_cli.start import main; import sys; sys.exit(main())"
WITHOUT_DELAYS = (
    "from smartmob_agent.process.backoff import Backoff; Backoff.after_failure = lambda self: 0.0"
)
PROCFILE = b"web: echo $NAME > $PIPE\n"
DAY_SECONDS = 1.0
MOST_STARTS = 50 + 2
MOST_APART = 1
MOST_MILLISECONDS = 50.0
PAUSE = 0.01
"""Seconds between an answer and the next question."""


def judge(value: float, most: float) -> str:
    """Say what is wanted, and whether it is so."""
    return f"<= {most:g}: {'ok' if value <= most else 'NOT'}"


async def one_day() -> int:
    """Play 24 hours of a crash loop; return the number of its starts."""
    world, starts = World(), 0
    async with world.open() as supervisor:
        supervisor.create(make_spec())
        with trio.move_on_after(86400):
            while True:
                child = await world.spawner.next_child()
                starts += 1
                child.exit(1)
    return starts


def measure_days(repeats: int) -> None:
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        starts = trio.run(one_day, clock=trio.testing.MockClock(autojump_threshold=0))
        taken.append(time.perf_counter() - began)
        assert starts == 1445, starts
    verdict = judge(max(taken), DAY_SECONDS)
    print(f"24 hours, 1445 starts: {min(taken):.2f} to {max(taken):.2f} s of real time  {verdict}")


@contextmanager
def source() -> Iterator[str]:
    """Serve the app; yield its URL."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("Procfile")
        member.size = len(PROCFILE)
        tar.addfile(member, io.BytesIO(PROCFILE))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(buffer.getvalue())))
            self.end_headers()
            self.wfile.write(buffer.getvalue())

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/app.tar.gz"
        server.shutdown()
        thread.join()


@contextmanager
def agent(before: str) -> Iterator[int]:
    """Run the command behind some code; yield its port."""
    command = [sys.executable, "-c", f"{before}\n{COMMAND}", "--port=0", "--log-format=json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        try:
            bind = next(
                event for line in process.stderr if "bind" in (event := json.loads(line))["event"]
            )
            reader = threading.Thread(target=process.stderr.read)
            reader.start()
            yield int(bind["url"].rsplit(":", 1)[1])
        finally:
            process.terminate()
            process.wait()
            reader.join()


@attrs.define(eq=False)
class Starts:
    """What children write when they have started, and when it came."""

    path: str
    seen: list[tuple[float, str]] = attrs.field(factory=list)
    _fd: int = -1

    @contextmanager
    def read(self) -> Iterator[None]:
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR)
        thread = threading.Thread(target=self._read)
        thread.start()
        try:
            yield
        finally:
            os.write(self._fd, b"\n")
            thread.join()
            os.close(self._fd)

    def _read(self) -> None:
        while data := os.read(self._fd, 65536):
            now = time.perf_counter()
            names = data.decode().split("\n")[:-1]
            self.seen += [(now, name) for name in names if name]
            if "" in names:
                return

    def busiest_second(self) -> int:
        times = [when for when, _ in self.seen]
        first = itertools.count()
        start, most = next(first), 0
        for end, when in enumerate(times):
            while times[start] <= when - 1:
                start = next(first)
            most = max(most, end - start + 1)
        return most

    def of_each(self, since: float) -> Counter[str]:
        return Counter(name for when, name in self.seen if when >= since)


def latencies(port: int, paths: Sequence[str], seconds: float) -> list[float]:
    """Ask for one path after the other on a connection that is kept; return milliseconds."""
    connection, taken = http.client.HTTPConnection("127.0.0.1", port), []
    end = time.perf_counter() + seconds
    for path in itertools.cycle(paths):
        began = time.perf_counter()
        if began >= end:
            break
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, path
        taken.append((time.perf_counter() - began) * 1e3)
        time.sleep(PAUSE)
    connection.close()
    return taken


def show(name: str, taken: Sequence[float]) -> None:
    p99 = statistics.quantiles(taken, n=100)[-1]
    line = f"{statistics.median(taken):8.1f}{p99:8.1f}{max(taken):8.1f}   ms of {len(taken):<6}"
    print(f"  {name:34}{line}{judge(max(taken), MOST_MILLISECONDS)}")


def create(port: int, url: str, number: int, pipe: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = {
        "app": f"app{number}",
        "node": "web.0",
        "process_type": "web",
        "source_url": url,
        "env": {"NAME": str(number), "PIPE": pipe},
    }
    connection.request("POST", "/create-process", json.dumps(body))
    assert connection.getresponse().status == 201
    connection.close()


def measure_storm(name: str, before: str, count: int, seconds: float, *, fair: bool) -> None:
    """fair: whether all want to start all the time, so that each has its share."""
    status, all_of_them = ["/process-status/app0.web.0"], ["/list-processes"]
    with source() as url, tempfile.TemporaryDirectory() as place, agent(before) as port:
        starts = Starts(f"{place}/starts")
        with starts.read():
            idle = latencies(port, ["/list-processes"], seconds / 4)
            began = time.perf_counter()
            for number in range(count):
                create(port, url, number, starts.path)
            created = time.perf_counter() - began
            time.sleep(seconds / 4)  # Until all of them take part.
            all_there = time.perf_counter()
            one = latencies(port, status, seconds)
            many = latencies(port, all_of_them, seconds)
            end = time.perf_counter()
            total, each = len(starts.seen), starts.of_each(all_there)
    lasted = end - began
    print(f"{name}: {count} processes in {created:.1f} s; {total} starts in {lasted:.1f} s")
    busiest, (least, most) = starts.busiest_second(), (min(each.values()), max(each.values()))
    print(f"  starts in the busiest second: {busiest}  {judge(busiest, MOST_STARTS)}")
    apart = f"  apart {judge(most - least, MOST_APART)}" if fair else ""
    print(f"  starts of each when all are there: {least} to {most}{apart}")
    print(f"  {'':34}{'p50':>8}{'p99':>8}{'max':>8}")
    show("idle, no processes", idle)
    show("status of one", one)
    show(f"list of {count}", many)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="does it work?")
    small = parser.parse_args().small
    count, seconds = (20, 1.0) if small else (200, 10.0)
    measure_days(1 if small else 5)
    measure_storm("delays as they are", "", count, seconds, fair=False)
    measure_storm("no delays", WITHOUT_DELAYS, count, seconds, fair=True)

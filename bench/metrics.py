"""What metrics cost an agent with 500 idle processes that Prometheus asks every 15 seconds.

    python bench/metrics.py              500 processes of Python, a minute: four scrapes
    python bench/metrics.py --small      does it work?

- processor time of the agent, all included, for each scrape and for the whole minute; the
  target is under 1 %
- how long `/health` takes at most while the metrics are read: the event loop goes on

The agent is the real command.  The first scrape reads what share of memory each process has,
which is the dearest figure and is good for five minutes; the others read the rest.

All is on 127.0.0.1.  A busy machine spoils the figures.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.e2e.agent import RunningAgent, archive_server, running_agent, tar_gz

PROCFILE = "web: exec {python} -S -c 'import time; time.sleep(100000)'\n"
SCRAPE_INTERVAL = 15.0
LIMIT = 150.0
"""Seconds for all of it."""
SETTLE = 5.0
"""Seconds until children that were just started are idle."""


def cpu_seconds(pid: int) -> float:
    """Processor time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def start(agent: RunningAgent, url: str, count: int) -> None:
    for number in range(count):
        await agent.create(url, f"app{number}")
    for number in range(count):
        await agent.wait_event(event="state", slug=f"app{number}.web.0", state="running")


async def scrape(agent: RunningAgent) -> tuple[int, float]:
    """Return the number of series, and milliseconds until they were there."""
    began = time.perf_counter()
    answer = await agent.client.get("/metrics")
    taken = (time.perf_counter() - began) * 1e3
    assert answer.status_code == 200, answer.text
    return sum(not line.startswith("#") for line in answer.text.splitlines()), taken


async def bench_cost(agent: RunningAgent, interval: float) -> None:
    pid, scrapes = agent.process.pid, 4
    before = cpu_seconds(pid)
    await trio.sleep(interval)
    idle = cpu_seconds(pid) - before
    print(f"no scrapes: {idle / interval:.2%} of a processor")
    began = time.perf_counter()
    first = cpu_seconds(pid)
    for number in range(scrapes):
        before = cpu_seconds(pid)
        series, taken = await scrape(agent)
        used = (cpu_seconds(pid) - before) * 1e3
        print(f"scrape {number + 1}: {series} series in {taken:.0f} ms, {used:.0f} ms of processor")
        await trio.sleep(began + (number + 1) * interval - time.perf_counter())
    used = cpu_seconds(pid) - first
    print(f"{scrapes} scrapes: {used * 1e3 / scrapes:.0f} ms each, all included")
    share = used / scrapes / SCRAPE_INTERVAL
    print(f"  at one in {SCRAPE_INTERVAL:.0f} s: {share:.2%} of a processor (under 1 % is wanted)")


async def bench_latency(agent: RunningAgent) -> None:
    worst: list[float] = []
    done = trio.Event()

    async def ask() -> None:
        while not done.is_set():
            began = time.perf_counter()
            await agent.client.get("/health")
            worst.append((time.perf_counter() - began) * 1e3)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(0.5)
        before = len(worst)
        _, taken = await scrape(agent)
        done.set()
    quiet, busy = worst[:before], worst[before:]
    print(f"/health beside a scrape of {taken:.0f} ms: {max(busy):.1f} ms at most")
    print(f"  and without: {max(quiet):.1f} ms at most")


async def main(count: int, interval: float) -> None:
    app = tar_gz({"Procfile": PROCFILE.format(python=sys.executable)})
    async with (
        archive_server() as server,
        running_agent("--max-start-rate=0", limit=LIMIT) as agent,
    ):
        await start(agent, server.add("app.tar.gz", app), count)
        await trio.sleep(SETTLE)
        print(f"{count} processes; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
        await bench_cost(agent, interval)
        await bench_latency(agent)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="does it work?")
    small = parser.parse_args().small
    trio.run(main, *((5, 0.5) if small else (500, SCRAPE_INTERVAL)))

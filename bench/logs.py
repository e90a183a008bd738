"""Output that stays: what writing it costs, and how fast it is found again.

python bench/logs.py drain     100 children that flood, with and without a log; answers meanwhile
python bench/logs.py find      `since` in 1 GiB: how soon the first line comes
python bench/logs.py grep      1 GiB, against `grep -E` on the same bytes
python bench/logs.py compress  whether it would pay
"""

from __future__ import annotations

import gzip
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio

from smartmob_agent.output.batch import Stream
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.output.cursor import LinesMissedError
from smartmob_agent.output.line_pattern import LinePattern
from smartmob_agent.output.log.log_cursor import LogCursor, LogQuery
from smartmob_agent.output.log.logs import Logs, open_logs
from smartmob_agent.output.log.writer import LogLimits
from smartmob_agent.output.pump import pump

GiB = 1024**3
LIMITS = LogLimits(process_bytes=4 * GiB, total_bytes=16 * GiB, age=timedelta(days=7))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(
        b"2026-12-01T12:00:%02d.%03d INFO  request %08d GET /api/v1/items/%d status=200 time=%dms\n"
        % (i // 1000 % 60, i % 1000, i, i * 7919 % 100000, i * 31 % 900)
        for i in range(first, first + count)
    )


# Drain: a child that writes as fast as it can, to a pump, a console and a log.


async def drain_all(directory: Path | None, children: int, seconds: float) -> tuple[float, str]:
    async with AsyncExitStack() as stack:
        logs = None
        if directory is not None:
            logs = await stack.enter_async_context(open_logs(directory, LIMITS))
        consoles = []
        delays: list[float] = []
        # Each turn of the loop that comes late is an answer that comes late.
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch_loop, delays)
                for number in range(children):
                    log = None if logs is None else logs.open(f"app.{number}")
                    console = Console(1 << 20, lambda: datetime.now(UTC), log)
                    consoles.append(console)
                    nursery.start_soon(drain, console)
        lost = "" if logs is None else f", {lost_share(logs, consoles):.1%} of the lines lost"
        late = statistics.quantiles(delays, n=100) if len(delays) > 2 else [0.0] * 99
        rate = sum(console.text_bytes for console in consoles) / seconds
        return rate, (
            f"loop late by {late[49] * 1e3:.1f} ms (median), {late[98] * 1e3:.1f} ms (99 %), "
            f"{max(delays) * 1e3:.1f} ms (most){lost}"
        )


def lost_share(logs: Logs, consoles: list[Console]) -> float:
    return logs.lost_lines / max(sum(console.next_line - 1 for console in consoles), 1)


async def watch_loop(delays: list[float]) -> None:
    while True:
        begun = trio.current_time()
        await trio.sleep(0.01)
        delays.append(trio.current_time() - begun - 0.01)


async def drain(console: Console) -> None:
    process = await trio.lowlevel.open_process(
        ["yes", "2026-12-01T12:00:00 INFO request 00001234 GET /api/v1/items/4711 status=200"],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        await pump(process.stdout, console, Stream.STDOUT, 65536)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def bench_drain(directory: Path) -> None:
    for children in (1, 10, 100):
        rates = {}
        for name, where in (("without", None), ("with", directory / f"log{children}")):
            rate, told = trio.run(drain_all, where, children, 5.0)
            rates[name] = rate
            print(f"{children:4} children, {name:7} log: {rate / 1e6:7.0f} MB/s, {told}")
            if where is not None:
                shutil.rmtree(where)
        print(f"{children:4} children: {rates['with'] / rates['without']:.2f} times")


# Find and grep


async def fill(directory: Path, size: int, batch_lines: int) -> None:
    """Write a log of about so many bytes, a batch each millisecond."""
    now = [BEGIN]
    text = lines(batch_lines)
    async with open_logs(directory, LIMITS, now=lambda: now[0]) as logs:
        log = logs.open("app.0")
        console = Console(1 << 20, lambda: now[0], log)
        while console.text_bytes < size:
            console.publish(Stream.STDOUT, text)
            now[0] += timedelta(milliseconds=1)
            if log.pending_bytes > 2 << 20:
                await log.flush()
        rare = b"2026-12-01 ERROR code=%d broke\n"
        console.publish(Stream.STDOUT, rare % 5123)


async def read_first(logs: Logs, query: LogQuery) -> tuple[float, int]:
    log = logs["app.0"]
    console = Console(1, lambda: BEGIN, log)
    console.close(ConsoleEnd.PROCESS)
    begun = time.perf_counter()
    cursor = LogCursor(console, log, query, trio.CapacityLimiter(1))
    await cursor.start()
    item = await cursor.receive()
    return time.perf_counter() - begun, item.first


async def read_all(logs: Logs, query: LogQuery) -> tuple[float, int]:
    log = logs["app.0"]
    console = Console(1, lambda: BEGIN, log)
    console.close(ConsoleEnd.PROCESS)
    begun, found = time.perf_counter(), 0
    cursor = LogCursor(console, log, query, trio.CapacityLimiter(1))
    await cursor.start()
    while True:
        await trio.lowlevel.checkpoint()
        try:
            item = await cursor.receive()
        except LinesMissedError:
            continue
        except trio.EndOfChannel:
            return time.perf_counter() - begun, found
        found += item.end - item.first


async def find(directory: Path) -> None:
    for batch_lines in (1, 100):
        where = directory / f"find{batch_lines}"
        await fill(where, GiB if batch_lines > 1 else GiB // 4, batch_lines)
        async with open_logs(where, LIMITS, now=lambda: BEGIN) as logs:
            log = logs["app.0"]
            span = log.segments[-1].latest - BEGIN
            times = []
            for step in range(1, 100):
                taken, _ = await read_first(logs, LogQuery(since=BEGIN + span * step / 100))
                times.append(taken)
            print(
                f"{log.cost_bytes / GiB:.2f} GiB in batches of {batch_lines} lines: since finds "
                "its "
                f"place in {statistics.median(times) * 1e3:.1f} ms (median), "
                f"{max(times) * 1e3:.1f} ms (most)"
            )
        shutil.rmtree(where)


async def grep(directory: Path) -> None:
    where = directory / "grep"
    await fill(where, GiB, 300)
    files = sorted(map(str, (where / "app.0").glob("*.log")))
    size = sum(map(file_size, files))
    async with open_logs(where, LIMITS, now=lambda: BEGIN) as logs:
        for pattern in (
            "code=5[0-9]{3}",
            "ERROR",
            "items/4711 ",
            "(WARN|ERROR) ",
            "[A-Z]{5} .*broke",
        ):
            theirs = min(grep_e(pattern, files) for _ in range(3))
            ours, found = min(
                [await read_all(logs, LogQuery(pattern=LinePattern(pattern))) for _ in range(3)]
            )
            print(
                f"grep {pattern!r}: {size / ours / 1e6:.0f} MB/s, {found} lines; grep -E: "
                f"{size / theirs / 1e6:.0f} MB/s; {theirs / ours:.2f} times as fast"
            )


def file_size(path: str) -> int:
    return Path(path).stat().st_size


def grep_e(pattern: str, files: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(["grep", "-Eh", pattern, *files], stdout=subprocess.PIPE, check=False)
    return time.perf_counter() - begun


def compress(_directory: Path) -> None:
    text = lines(100_000)
    for level in (1, 6):
        begun = time.perf_counter()
        packed = gzip.compress(text, level)
        taken = time.perf_counter() - begun
        begun = time.perf_counter()
        zlib.decompress(packed, 31)
        back = time.perf_counter() - begun
        print(
            f"gzip -{level}: {len(text) / len(packed):.1f} times smaller, "
            f"{len(text) / taken / 1e6:.0f} MB/s in, {len(text) / back / 1e6:.0f} MB/s out"
        )


def main() -> None:
    directory = Path(tempfile.mkdtemp(prefix="bench-logs-"))
    what = sys.argv[1:] or ["drain", "find", "grep", "compress"]
    try:
        if "drain" in what:
            bench_drain(directory)
        if "find" in what:
            trio.run(find, directory)
        if "grep" in what:
            trio.run(grep, directory)
        if "compress" in what:
            compress(directory)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()

"""A directory of logs, a console that writes there, and readers of both."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import trio

from smartmob_agent.output.batch import Batch, Event
from smartmob_agent.output.console import Console
from smartmob_agent.output.cursor import LinesMissedError
from smartmob_agent.output.log.log_cursor import LogCursor, LogQuery
from smartmob_agent.output.log.logs import Logs, open_logs
from smartmob_agent.output.log.process_log import ProcessLog
from smartmob_agent.output.log.writer import LogLimits, Write

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SLUG = "app.web.0"
MiB = 1024 * 1024
LIMITS = LogLimits(process_bytes=64 * MiB, total_bytes=1024 * MiB, age=timedelta(days=7))


@attrs.define(eq=False)
class Wall:
    """A wall clock that goes as it is told."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@attrs.define(eq=False)
class LeakyLog:
    """A log that loses what it is given, while it leaks."""

    log: ProcessLog
    leaks: bool = False

    @property
    def next_number(self) -> int:
        return self.log.next_number

    def announce(self, item: Batch) -> None:
        self.log.announce(item)

    def put(self, item: Batch | Event) -> None:
        if not self.leaks:
            self.log.put(item)


@attrs.define(eq=False)
class Place:
    """What a test works with."""

    logs: Logs
    wall: Wall
    log: ProcessLog
    console: Console
    leaky: LeakyLog

    async def read(self, query: LogQuery = LogQuery()) -> list[object]:  # noqa: B008 -- frozen
        """Read all that a query shows: lines, `("gap", n)` and names of events."""
        cursor = LogCursor(self.console, self.log, query, trio.CapacityLimiter(1))
        await cursor.start()
        return await read_all(cursor)

    async def restart(self) -> None:
        """As if the process had been deleted and created again."""
        self.logs.close(self.log)
        await self.log.flush()
        self.begin()

    def begin(self, ring_bytes: int = 20_000) -> None:
        self.log = self.logs.open(SLUG)
        self.leaky = LeakyLog(self.log)
        self.console = Console(ring_bytes, self.wall, self.leaky)


async def read_all(cursor: LogCursor) -> list[object]:
    seen: list[object] = []
    with contextlib.suppress(trio.EndOfChannel):
        while True:
            await trio.lowlevel.checkpoint()
            try:
                seen += shown(await cursor.receive())
            except LinesMissedError as exc:
                seen.append(("gap", exc.lines))
    return seen


def shown(item: Batch | Event) -> list[object]:
    if isinstance(item, Event):
        return [item.record["event"]]
    return [
        (number, line.decode())
        for number, line in zip(range(item.first, item.end), item.lines, strict=True)
    ]


@contextlib.asynccontextmanager
async def open_place(
    directory: Path,
    *,
    ring_bytes: int = 20_000,
    limits: LogLimits = LIMITS,
    wall: Callable[[], datetime] | None = None,
    write: Write = os.pwrite,
) -> AsyncIterator[Place]:
    wall = wall or Wall()
    assert isinstance(wall, Wall)
    shared = directory / "shared"
    shared.mkdir(exist_ok=True)
    async with open_logs(directory / "log", limits, shared=shared, now=wall, write=write) as logs:
        log = logs.open(SLUG)
        leaky = LeakyLog(log)
        yield Place(logs, wall, log, Console(ring_bytes, wall, leaky), leaky)

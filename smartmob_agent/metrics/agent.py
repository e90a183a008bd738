"""All metrics of one agent: counted while it runs, read when somebody asks."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import trio

from smartmob_agent.child.seam import Spawner
from smartmob_agent.http.middleware.traffic import Traffic
from smartmob_agent.metrics.exposition import Exposition
from smartmob_agent.metrics.lives import Lives
from smartmob_agent.metrics.meters import Downloads, MeteredFetcher, MeteredSpawner, Spawns
from smartmob_agent.metrics.proc import Proc
from smartmob_agent.metrics.snapshot import ProcessFigures, Snapshot, make_families
from smartmob_agent.metrics.tree_usage import TreeReader, Usage
from smartmob_agent.metrics.usage import Usages
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.source.download.seam import Fetcher

__all__ = ["Metrics", "Reader"]

READ_INTERVAL = 10.0
"""Seconds for which what was read of trees is good, however many ask: it costs the most."""


class Reader(Protocol):
    """Reads trees: see `TreeReader`."""

    def read(self, pids: Collection[int], check: Callable[[], None]) -> Mapping[int, Usage]: ...


class Metrics:
    """The metrics of one agent.

    traffic: counts requests; whoever serves them calls it.
    reader: of what trees use, in a thread; by default from /proc, and from `cgroup`.
    cgroup: of the agent, in which each child has its own.
    """

    def __init__(self, *, cgroup: Path | None = None, reader: Reader | None = None) -> None:
        self.traffic = Traffic()
        self._lives, self._spawns, self._downloads = Lives(), Spawns(), Downloads()
        self._usages = Usages[ManagedProcess]()
        self._reader = reader or TreeReader(Proc(), cgroup, time.monotonic)
        self._exposition = Exposition()
        self._version = importlib.metadata.version("smartmob-agent")
        self._turn = trio.Lock()
        self._thread = trio.CapacityLimiter(1)  # never behind threads that unpack archives
        self._processes: Iterable[ManagedProcess] = ()
        self._containment = ""

    def meter_spawner(self, spawner: Spawner) -> Spawner:
        """Return the same, measured."""
        self._containment = spawner.containment
        return MeteredSpawner(spawner, self._spawns)

    def meter_fetcher(self, fetcher: Fetcher) -> Fetcher:
        """Return the same, measured."""
        return MeteredFetcher(fetcher, self._downloads)

    def watch(self, supervisor: Supervisor) -> None:
        """Count what happens to these processes from now on; call it once."""
        self._processes = supervisor
        supervisor.events.observers.append(self._lives.observe)

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return the text of all metrics, and its media type.

        accept: the header of that name.

        One at a time; the event loop goes on meanwhile.  If cancelled: stops after the tree that
        is being read.
        """
        async with self._turn:
            if self._usages.age(trio.current_time()) >= READ_INTERVAL:
                await self._read_trees()
            snapshot = self._take_snapshot()
            return await trio.to_thread.run_sync(
                lambda: self._exposition.render(make_families(snapshot), accept),
                limiter=self._thread,
            )

    async def _read_trees(self) -> None:
        running = {process: process.pid for process in self._processes if process.pid is not None}
        starts = {process: process.starts for process in running}
        found = await trio.to_thread.run_sync(
            self._reader.read,
            tuple(running.values()),
            trio.from_thread.check_cancelled,
            limiter=self._thread,
        )
        usages = {process: found[pid] for process, pid in running.items() if pid in found}
        self._usages.update(usages, starts, trio.current_time())
        self._usages.keep(self._processes)

    def _take_snapshot(self) -> Snapshot:
        return Snapshot(
            version=self._version,
            containment=self._containment,
            processes=[self._figures(process) for process in self._processes],
            starts=self._lives.starts,
            exits=dict(self._lives.exits),
            restart_delay=self._lives.delays.now,
            spawn=self._spawns.seconds.now,
            spawn_failures=self._spawns.failures,
            downloads={key: seconds.now for key, seconds in self._downloads.seconds.items()},
            download_bytes=self._downloads.received_bytes,
            requests={key: seconds.now for key, seconds in self.traffic.requests.items()},
            open_requests=dict(self.traffic.open),
        )

    def _figures(self, process: ManagedProcess) -> ProcessFigures:
        spec, console = process.spec, process.console
        return ProcessFigures(
            labels={
                "slug": spec.slug,
                "app": spec.app,
                "node": spec.node,
                "process_type": spec.process_type,
            },
            state=process.state,
            starts=process.starts,
            lines=console.next_line - 1,
            text_bytes=console.text_bytes,
            missed_lines=console.missed_lines,
            clients=self.traffic.attached[spec.slug],
            cpu_seconds=self._usages.cpu_seconds(process),
            usage=self._usages.latest(process) if process.pid is not None else None,
        )

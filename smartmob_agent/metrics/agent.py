"""All metrics of one agent: counted while it runs, read when somebody asks."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import trio

from smartmob_agent.apps.registry import Apps
from smartmob_agent.child.seam import Spawner
from smartmob_agent.http.middleware.traffic import Traffic
from smartmob_agent.metrics.catalogue import Sources, read_families
from smartmob_agent.metrics.exposition import Exposition
from smartmob_agent.metrics.meters import Downloads, Lives, MeteredFetcher, MeteredSpawner, Spawns
from smartmob_agent.metrics.proc import Proc
from smartmob_agent.metrics.tree_usage import TreeReader, Usage, Usages
from smartmob_agent.output.log.logs import Logs
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
        self._logs: Logs | None = None
        self._apps: Apps | None = None
        self._containment = ""

    def meter_spawner(self, spawner: Spawner) -> Spawner:
        """Return the same, measured."""
        self._containment = spawner.containment
        return MeteredSpawner(spawner, self._spawns)

    def meter_fetcher(self, fetcher: Fetcher) -> Fetcher:
        """Return the same, measured."""
        return MeteredFetcher(fetcher, self._downloads)

    def watch(self, supervisor: Supervisor, apps: Apps | None = None) -> None:
        """Count what happens to these processes and apps from now on; call it once."""
        self._processes, self._apps = supervisor, apps
        self._logs = supervisor.logs
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
            families = read_families(self._sources())
            return await trio.to_thread.run_sync(
                lambda: self._exposition.render(families, accept),
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

    def _sources(self) -> Sources:
        return Sources(
            version=self._version,
            containment=self._containment,
            processes=tuple(self._processes),
            lives=self._lives,
            spawns=self._spawns,
            downloads=self._downloads,
            traffic=self.traffic,
            usages=self._usages,
            logs=self._logs,
            apps=self._apps,
        )

"""A supervisor in a world of fakes, on whatever clock the test runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import trio
import trio.testing

from smartmob_agent.build.builds import Builds, open_builds
from smartmob_agent.build.seam import Builder
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.output.batch import Batch, Event
from smartmob_agent.output.cursor import Cursor
from smartmob_agent.process.ports import Ports
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.spec import ProcessSpec, Services
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.source.store import Store, open_store
from smartmob_agent.testing import (
    FakeFetcher,
    FakeNetwork,
    FakeSpawner,
    FakeStore,
    FakeWorkspaces,
)
from tests.process.tasks import check_tasks, count_tasks

ENVIRON = {"PATH": "/usr/bin", "SECRET": "x"}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def wall_clock() -> datetime:
    """The epoch and trio's clock: delays are exact on both."""
    return EPOCH + timedelta(seconds=trio.current_time())


def make_spec(app: str = "app", node: str = "web.0", **changes: Any) -> ProcessSpec:
    spec = ProcessSpec(
        app=app,
        node=node,
        process_type="web",
        source_url="http://127.0.0.1/app.zip",
        request_id="request-1",
    )
    return attrs.evolve(spec, **changes)


@attrs.frozen(kw_only=True)
class World:
    """The fakes, and a supervisor that uses them; delays are as long as jitter allows.

    supervisors: all that there were.
    """

    spawner: FakeSpawner = attrs.field(factory=FakeSpawner)
    fetcher: FakeFetcher = attrs.field(factory=FakeFetcher)
    workspaces: FakeWorkspaces = attrs.field(factory=FakeWorkspaces)
    network: FakeNetwork = attrs.field(factory=FakeNetwork)
    builders: Sequence[Builder] = ()
    config: AgentConfig = attrs.field(factory=AgentConfig)
    state: FakeStore | None = None
    supervisors: list[Supervisor] = attrs.field(factory=list)

    @asynccontextmanager
    async def open_services(self) -> AsyncIterator[Services]:
        """What a supervisor needs, with a real store between the fakes."""
        config = self.config
        opening = open_store(self.fetcher, self.workspaces.cache, config.cache, config.source)
        async with (
            opening as store,
            open_builds(
                config,
                self.builders,
                spawner=self.spawner,
                trees=self.workspaces.cache.trees,
                environ=ENVIRON,
            ) as builds,
        ):
            yield self._services(store, builds)

    def _services(self, store: Store, builds: Builds) -> Services:
        return Services(
            config=self.config,
            spawner=self.spawner,
            store=store,
            builds=builds,
            workspaces=self.workspaces,
            network=self.network,
            ports=Ports(*self.config.ports, self.network.is_free),
            environ=ENVIRON,
            random=lambda: 1.0,
            now=wall_clock,
            state=self.state,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Supervisor]:
        """Run a supervisor; close it at the end and wait for what it has.

        Who is still listed then has a task, and nobody else has.
        """
        task = trio.lowlevel.current_task()
        outer = len(task.child_nurseries)
        async with self.open_services() as services, trio.open_nursery() as nursery:
            supervisor = Supervisor(nursery, services)
            self.supervisors.append(supervisor)
            nurseries = task.child_nurseries[outer:]
            before = count_tasks(nurseries)
            try:
                yield supervisor
                if not supervisor.stopping:
                    await settle()
                    check_tasks(nurseries, before, supervisor)
            finally:
                supervisor.close()


async def settle() -> None:
    """Let everything happen that needs no time."""
    await trio.testing.wait_all_tasks_blocked()


async def next_lines(cursor: Cursor[Batch | Event]) -> Sequence[bytes]:
    """Read the next lines, past what else happened."""
    while not isinstance(item := await cursor.receive(), Batch):
        pass
    return item.lines


async def lines_until_end(process: ManagedProcess) -> list[bytes]:
    """Read the console from here on until it ends."""
    cursor = process.console.subscribe()
    lines: list[bytes] = []
    try:
        while True:
            lines += await next_lines(cursor)
    except trio.EndOfChannel:
        return lines


async def running(supervisor: Supervisor, spec: ProcessSpec | None = None) -> ManagedProcess:
    """Create a process and wait until its child is ready."""
    process = supervisor.create(spec or make_spec())
    await process.wait_ready()
    return process

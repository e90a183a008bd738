"""All metrics of one agent, as text.  Threads are real, so the clock is, or a test sets it."""

from __future__ import annotations

import importlib.metadata
import re
import threading
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.metrics.agent import READ_INTERVAL, Metrics
from smartmob_agent.metrics.catalogue import ALL, MetricKind
from smartmob_agent.metrics.tree_usage import Usage
from smartmob_agent.output.batch import Stream
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.states import State
from smartmob_agent.process.supervisor import Supervisor
from tests.process.world import World, make_spec, running

USAGE = Usage(cpu_seconds=1.5, memory_bytes=4096, open_fds=3, processes=2)
LABELS = 'app="app",node="web.0",process_type="web",slug="app.web.0"'


@attrs.define
class FakeReader:
    """Reads the same of each tree.

    pids: of each reading.
    on_read: is called by the thread that reads.
    """

    usage: Usage = USAGE
    pids: list[Collection[int]] = attrs.field(factory=list)
    on_read: Callable[[Callable[[], None]], None] = lambda _check: None

    def read(self, pids: Collection[int], check: Callable[[], None]) -> Mapping[int, Usage]:
        self.pids.append(pids)
        self.on_read(check)
        return dict.fromkeys(pids, self.usage)


@attrs.frozen
class Stage:
    metrics: Metrics
    reader: FakeReader
    supervisor: Supervisor
    world: World

    async def lines(self, accept: str = "") -> list[str]:
        text, _ = await self.metrics.scrape(accept)
        return text.decode().splitlines()

    async def values(self, name: str) -> dict[str, float]:
        """Labels → value of each series of this name."""
        pattern = re.compile(rf"{name}(?:\{{(.*)\}})? (\S+)")
        found = map(pattern.fullmatch, await self.lines())
        return {match[1] or "": float(match[2]) for match in found if match}


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    world, reader = World(), FakeReader()
    metrics = Metrics(reader=reader)
    async with world.open() as supervisor:
        metrics.meter_spawner(world.spawner)
        metrics.watch(supervisor)
        yield Stage(metrics, reader, supervisor, world)


async def test_a_process_has_all_its_series() -> None:
    async with open_stage() as stage:
        process = await running(stage.supervisor)
        process.console.publish(Stream.STDOUT, b"one\ntwo\n")
        process.console.note_missed(7)
        stage.metrics.traffic.add_routes(["/attach-console/<slug>"])
        stage.metrics.traffic.begin("GET", "/attach-console/app.web.0").attach()
        found = [line for line in await stage.lines() if LABELS in line]
    assert found == [
        f'smartmob_process_state{{{LABELS},state="running"}} 1.0',
        f"smartmob_process_starts_total{{{LABELS}}} 1.0",
        f"smartmob_process_ready{{{LABELS}}} 1.0",
        f"smartmob_process_failures{{{LABELS}}} 0.0",
        f"smartmob_process_port{{{LABELS}}} 20000.0",
        f"smartmob_process_cpu_seconds_total{{{LABELS}}} 1.5",
        f"smartmob_process_memory_bytes{{{LABELS}}} 4096.0",
        f"smartmob_process_open_fds{{{LABELS}}} 3.0",
        f"smartmob_process_members{{{LABELS}}} 2.0",
        f"smartmob_console_lines_total{{{LABELS}}} 2.0",
        f"smartmob_console_bytes_total{{{LABELS}}} 8.0",
        f"smartmob_console_missed_lines_total{{{LABELS}}} 7.0",
        f"smartmob_console_clients{{{LABELS}}} 1.0",
    ]


async def test_the_agent_has_series_without_any_process() -> None:
    async with open_stage() as stage:
        version = importlib.metadata.version("smartmob-agent")
        build = await stage.values("smartmob_build_info")
        assert build == {f'containment="tree",version="{version}"': 1.0}
        states = await stage.values("smartmob_processes")
        assert states['state="running"'] == states['state="download failure"'] == 0.0
        assert 'state="gone"' not in states
        assert await stage.values("smartmob_starts_total") == {"": 0.0}
        assert (await stage.values("process_cpu_seconds_total"))[""] > 0


async def test_processes_are_counted_by_state() -> None:
    async with open_stage() as stage:
        await running(stage.supervisor)
        await running(stage.supervisor, make_spec(node="web.1"))
        assert (await stage.values("smartmob_processes"))['state="running"'] == 2.0
        assert await stage.values("smartmob_starts_total") == {"": 2.0}


async def test_the_series_of_a_deleted_process_vanish(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with open_stage() as stage:
        await running(stage.supervisor)
        process = stage.supervisor.get("app.web.0")
        await stage.lines()
        await stage.supervisor.delete("app.web.0")
        assert [line for line in await stage.lines() if "app.web.0" in line] == []
        assert await stage.values("smartmob_exits_total") == {'code="",signal="SIGTERM"': 1.0}
        mock_clock.jump(READ_INTERVAL)
        await stage.lines()
        assert stage.metrics._usages.cpu_seconds(process) is None, "it is forgotten"


async def test_a_process_that_ends_while_trees_are_read_is_left_out() -> None:
    async with open_stage() as stage:
        await running(stage.supervisor)
        stage.reader.on_read = lambda _: trio.from_thread.run(stage.supervisor.delete, "app.web.0")
        assert await stage.values("smartmob_process_memory_bytes") == {}
        assert await stage.values("smartmob_process_cpu_seconds_total") == {}
        assert len(stage.reader.pids) == 1


async def test_a_process_without_a_child_keeps_its_time_and_loses_the_rest() -> None:
    async with open_stage() as stage:
        process = await running(stage.supervisor)
        await stage.lines()
        stage.world.spawner.children[0].exit(1)
        await process.wait_state(State.BACKOFF)
        assert await stage.values("smartmob_process_open_fds") == {}
        assert await stage.values("smartmob_process_cpu_seconds_total") == {LABELS: 1.5}


async def test_trees_are_read_at_most_every_ten_seconds(mock_clock: trio.testing.MockClock) -> None:
    """However many ask: the clock stands still until the test moves it."""
    async with open_stage() as stage:
        process = await running(stage.supervisor)
        for _ in range(3):
            await stage.lines()
        mock_clock.jump(READ_INTERVAL - 1)
        await stage.lines()
        assert stage.reader.pids == [(process.pid,)]
        mock_clock.jump(1)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(stage.lines)
        assert len(stage.reader.pids) == 2


async def test_a_new_process_has_no_figures_of_its_tree_before_the_next_reading(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with open_stage() as stage:
        await stage.lines()
        await running(stage.supervisor)
        assert await stage.values("smartmob_process_starts_total") == {LABELS: 1.0}
        assert await stage.values("smartmob_process_cpu_seconds_total") == {}
        mock_clock.jump(READ_INTERVAL)
        assert await stage.values("smartmob_process_cpu_seconds_total") == {LABELS: 1.5}


async def test_the_time_of_children_adds_up(mock_clock: trio.testing.MockClock) -> None:
    async with open_stage() as stage:
        process = await running(stage.supervisor)
        await stage.lines()
        process.restart()
        child = await next_start(process)
        assert child == 2
        mock_clock.jump(READ_INTERVAL)
        assert await stage.values("smartmob_process_cpu_seconds_total") == {LABELS: 3.0}


async def next_start(process: ManagedProcess) -> int:
    await process.wait_started(process.starts)
    return process.starts


async def test_a_scrape_that_is_cancelled_ends_before_the_next_tree() -> None:
    """And the next one is whole."""
    async with open_stage() as stage:
        await running(stage.supervisor)
        reading, go, checked = trio.Event(), threading.Event(), []

        def on_read(check: Callable[[], None]) -> None:
            trio.from_thread.run_sync(reading.set)
            go.wait(60)
            try:
                check()
            except BaseException as exc:
                checked.append(type(exc))
                raise

        stage.reader.on_read = on_read
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stage.lines)
                await reading.wait()
                scope.cancel()
                go.set()
        assert (scope.cancelled_caught, checked) == (True, [trio.Cancelled])
        stage.reader.on_read = lambda _check: None
        assert await stage.values("smartmob_process_open_fds") == {LABELS: 3.0}


async def test_the_event_loop_goes_on_while_trees_are_read() -> None:
    async with open_stage() as stage:
        await running(stage.supervisor)
        went_on, in_time = threading.Event(), []
        stage.reader.on_read = lambda _check: in_time.append(went_on.wait(60))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.lines)
            await trio.testing.wait_all_tasks_blocked()
            went_on.set()
    assert in_time == [True]


PLAIN = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", PLAIN),
        ("*/*", PLAIN),
        ("text/plain;version=0.0.4", PLAIN),
        ("application/openmetrics-text;version=nonsense", PLAIN),
        ("application/openmetrics-text;version=1.0.0\u00a0", PLAIN),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
    ],
)
async def test_the_format_is_the_one_that_was_asked_for(accept: str, media_type: str) -> None:
    async with open_stage() as stage:
        text, found = await stage.metrics.scrape(accept)
    assert found == media_type
    assert text.endswith(b"# EOF\n") == ("openmetrics" in media_type)


async def test_each_metric_is_told_with_its_type_and_help() -> None:
    async with open_stage() as stage:
        lines = await stage.lines()
    types = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE smart")}
    kinds = {MetricKind.INFO: "gauge"}
    assert types == {metric.name: kinds.get(metric.kind, metric.kind.value) for metric in ALL}
    helps = {line.split(" ", 3)[2]: line.split(" ", 3)[3] for line in lines if "# HELP sm" in line}
    assert helps == {metric.name: metric.help for metric in ALL}


def test_no_label_grows_without_bound() -> None:
    """What a client or an app could make up is in none of them."""
    assert {label for metric in ALL for label in metric.labels} == {
        "version",
        "containment",
        "state",
        "code",
        "signal",
        "outcome",
        "route",
        "method",
        "status",
        "slug",
        "app",
        "node",
        "process_type",
    }

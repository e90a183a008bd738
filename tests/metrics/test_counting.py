"""What is counted while the agent runs: exact, on the virtual clock."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.child.seam import Command
from smartmob_agent.errors import SpawnError, TransientDownloadError
from smartmob_agent.histogram import Distribution, Histogram
from smartmob_agent.http.middleware.traffic import Traffic
from smartmob_agent.metrics.meters import Downloads, Lives, MeteredFetcher, MeteredSpawner, Spawns
from smartmob_agent.process.states import State
from smartmob_agent.source.download.seam import Fetched, FetchRequest
from smartmob_agent.testing import FakeSpawner
from tests.process.world import World, running, settle
from tests.source.fetching import make_request

Clock = trio.testing.MockClock
COMMAND = Command(argv=("/bin/sh",), env={}, cwd=Path("/"))


def count_of(histogram: Histogram) -> tuple[int, float]:
    return int(histogram.now.counts[-1]), float(histogram.now.total)


def test_a_value_is_in_all_buckets_that_it_does_not_exceed() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        histogram.observe(value)
    assert histogram.now == Distribution((1.0, 2.0), (2, 3, 4), 10.0)


async def test_starts_exits_and_delays_are_counted(autojump_clock: Clock) -> None:
    lives, world = Lives(), World()
    async with world.open() as supervisor:
        supervisor.events.observers.append(lives.observe)
        process = await running(supervisor)
        process.restart()
        await process.wait_state(State.BACKOFF)
        await process.wait_state(State.RUNNING)
        assert (lives.delays.now.counts[0], lives.exits) == (1, {("", "SIGTERM"): 1})
        world.spawner.children[1].exit(3)  # at once: put off by 1 s, then by 2 s
        await process.wait_state(State.BACKOFF)
        await process.wait_state(State.RUNNING)
        world.spawner.children[2].exit(3)
        await process.wait_state(State.BACKOFF)
        await process.wait_state(State.RUNNING)
        assert [*lives.delays.now.counts] == [1, 2, 3, 3, 3, 3, 3, 3, 3]
        assert lives.delays.now.total == 3.0
        await supervisor.delete(process.slug)
    assert (lives.starts, lives.exits) == (4, {("3", ""): 2, ("", "SIGTERM"): 2})


async def test_a_process_without_a_child_has_no_exit(autojump_clock: Clock) -> None:
    """Nor does one whose last exit is told once more with each later step."""
    lives = Lives()
    world = World(spawner=FakeSpawner(errors=[SpawnError("no")]))
    async with world.open() as supervisor:
        supervisor.events.observers.append(lives.observe)
        process = await running(supervisor)
        assert (lives.starts, dict(lives.exits)) == (1, {})
        assert count_of(lives.delays) == (1, 1.0)
        world.spawner.children[0].exit(0)
        await process.wait_state(State.BACKOFF)
        await supervisor.delete(process.slug)
    assert lives.exits == {("0", ""): 1}


async def test_what_is_stuck_has_not_ended(autojump_clock: Clock) -> None:
    lives, world = Lives(), World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        supervisor.events.observers.append(lives.observe)
        await running(supervisor)
        world.spawner.children[0].unkillable = True
        supervisor.kill()
        await settle()
        await trio.sleep(20)
        assert (len(supervisor), lives.exits) == (0, {})
        world.spawner.children[0].let_go()
    assert lives._running == set()


async def test_spawns_are_timed_and_failures_counted(autojump_clock: Clock) -> None:
    spawns = Spawns()
    inner = FakeSpawner(delay=0.02, errors=[SpawnError("no")])
    spawner = MeteredSpawner(inner, spawns)
    with pytest.raises(SpawnError):
        await spawner.spawn(COMMAND)
    child = await spawner.spawn(COMMAND)
    assert child is inner.children[0]
    assert spawner.containment == inner.containment
    assert (spawns.failures, *count_of(spawns.seconds)) == (1, 1, 0.02)
    inner.living[0].exit()
    for pipe in (child.stdout, child.stderr):
        await pipe.aclose()


@attrs.define
class Steps:
    """A fetcher that tells these sizes, half a second each."""

    sizes: list[int]
    fails: bool = False

    async def fetch(self, request: FetchRequest) -> Fetched | None:
        for size in self.sizes:
            request.progress(size, 100)
            await trio.sleep(0.5)
        if self.fails:
            raise TransientDownloadError("cut")
        return Fetched(sha256="0" * 64, size_bytes=100) if request.etag is None else None


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([0, 40, 100], 100),
        ([60, 80, 100], 40),  # it goes on where another one ended
        ([0, 60, 60, 100], 100),  # cut short, and taken up again
        ([0, 60, 0, 100], 160),  # begun anew
        ([], 0),
    ],
)
async def test_bytes_are_counted_as_they_come(
    sizes: list[int], expected: int, autojump_clock: Clock
) -> None:
    told: list[int] = []
    downloads = Downloads()
    fetcher = MeteredFetcher(Steps(sizes), downloads)
    await fetcher.fetch(
        make_request("http://x", Path("x"), progress=lambda size, _: told.append(size))
    )
    assert (downloads.received_bytes, told) == (expected, sizes)
    assert count_of(downloads.seconds["fetched"]) == (1, len(sizes) / 2)


async def test_downloads_are_told_apart_by_what_became_of_them(autojump_clock: Clock) -> None:
    downloads = Downloads()
    with pytest.raises(TransientDownloadError):
        await MeteredFetcher(Steps([0], fails=True), downloads).fetch(
            make_request("http://x", Path("x"))
        )
    with trio.move_on_after(0.75):
        await MeteredFetcher(Steps([0, 1, 2]), downloads).fetch(make_request("http://x", Path("x")))
    await MeteredFetcher(Steps([0]), downloads).fetch(
        make_request("http://x", Path("x"), etag='"held"')
    )
    assert {outcome: count_of(found) for outcome, found in downloads.seconds.items()} == {
        "fetched": (0, 0.0),
        "unchanged": (1, 0.5),
        "failed": (1, 0.5),
        "cancelled": (1, 0.75),
    }


def test_requests_are_told_apart_by_route_method_and_status() -> None:
    traffic = Traffic()
    traffic.add_routes(["/", "/list", "/status/<slug>"])
    for method, path, status in [
        ("GET", "/", 200),
        ("GET", "/status/a", 200),
        ("GET", "/status/b", 404),
        ("GET", "/status/", 404),
        ("GET", "/status/a/b", 404),
        ("GET", "/elsewhere", 404),
        ("BREW", "/list", 405),
        ("GET", "/list", None),
    ]:
        traffic.begin(method, path).end(status, 0.25)
    assert {key: count_of(seconds)[0] for key, seconds in traffic.requests.items()} == {
        ("/", "GET", "200"): 1,
        ("/status/<slug>", "GET", "200"): 1,
        ("/status/<slug>", "GET", "404"): 1,
        ("other", "GET", "404"): 3,
        ("/list", "other", "405"): 1,
        ("/list", "GET", ""): 1,
    }


def test_clients_are_counted_while_they_are_there() -> None:
    traffic = Traffic()
    traffic.add_routes(["/attach/<slug>"])
    one, two = (traffic.begin("GET", "/attach/a") for _ in range(2))
    one.attach()
    two.attach()
    assert (traffic.attached, traffic.open) == ({"a": 2}, {"/attach/<slug>": 2})
    one.end(101, 7.0)
    assert traffic.attached == {"a": 1}
    two.end(101, 8.0)
    assert (dict(traffic.attached), traffic.open) == ({}, {"/attach/<slug>": 0})

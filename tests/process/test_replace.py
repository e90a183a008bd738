"""Version 2 in the place of version 1, on the virtual clock."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from smartmob_agent.child.seam import ResourceLimits
from smartmob_agent.errors import (
    BadRequestError,
    PortInUseError,
    RequestError,
    SpawnError,
    StoppingError,
    TransientDownloadError,
    UnpackError,
)
from smartmob_agent.output.batch import Event
from smartmob_agent.process.events import TransitionEvent
from smartmob_agent.process.policies import Readiness, RestartPolicy, StopPolicy
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.replacement import (
    ReplaceAttempt,
    ReplaceFailedError,
    Replacement,
    ReplaceSupersededError,
)
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.process.states import State, WrongStateError
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.state.seam import StateFullError
from smartmob_agent.testing import FakeSpawner, FakeStore, FakeWorkspaces
from tests.process.world import World, make_spec, running, settle

Clock = trio.testing.MockClock
AFTER = Readiness(after=2, timeout=5)


def spec_of(release: int, **changes: Any) -> ProcessSpec:
    return make_spec(
        **{
            "source_url": f"http://127.0.0.1/{release}.zip",
            "release": release,
            "ready": AFTER,
            **changes,
        }
    )


def replacement(release: int = 2, **changes: Any) -> Replacement:
    own = {name: changes.pop(name) for name in ("order", "drain", "lasts") if name in changes}
    return Replacement(spec=spec_of(release, **changes), **own)


@asynccontextmanager
async def first_version(
    world: World, **changes: Any
) -> AsyncIterator[tuple[Supervisor, ManagedProcess]]:
    """A process of release 1 that is ready since second 2."""
    async with world.open() as supervisor:
        process = await running(supervisor, spec_of(1, **changes))
        assert trio.current_time() == 2
        yield supervisor, process


def events_of(process: ManagedProcess) -> list[tuple[object, ...]]:
    return [
        tuple(value for name, value in item.record.items() if name not in ("time", "port"))
        for item in process.console.items
        if isinstance(item, Event)
    ]


def look(process: ManagedProcess) -> tuple[object, ...]:
    return process.state, process.spec.release, process.pid, process.ready, process.port


async def test_the_new_child_starts_beside_the_old_one(autojump_clock: Clock) -> None:
    """Slug, console and line numbers go on; the old one ends when it has drained."""
    world = World()
    async with first_version(world) as (supervisor, process):
        old = world.spawner.children[0]
        old.write(b"one\n")
        attempt = supervisor.replace("app.web.0", replacement(drain=5))
        await trio.sleep(1)
        new = world.spawner.children[1]
        new.write(b"two\n")
        assert look(process) == (State.RUNNING, 1, 1000, True, 20000)
        assert attempt.step == "waiting"
        await attempt.wait_switched()
        assert trio.current_time() == 4
        assert look(process) == (State.RUNNING, 2, 1001, True, 20001)
        assert not old.terminated.is_set()
        old.write(b"three\n")
        await attempt.wait()
        assert (trio.current_time(), attempt.step) == (9, "done")
        assert old.released
        assert world.workspaces.opened[0].removed.is_set()
        assert (process.restarts, process.error) == (1, None)
        lines = [
            (record["seq"], record["pid"], record["release"], record["line"])
            for item in process.console.items
            for record in item.records
            if "seq" in record
        ]
        assert lines == [(1, 1000, 1, "one"), (2, 1001, 2, "two"), (3, 1000, 1, "three")]
        assert events_of(process) == [
            ("started", 1000, 1),
            ("started", 1001, 2),
            ("replaced", 1001),
            ("exited", 1000, 1, "SIGTERM"),
        ]
        assert new.command.env["SMARTMOB_RELEASE"] == "2"


async def test_the_events_tell_the_switch_once(autojump_clock: Clock) -> None:
    world = World()
    async with first_version(world) as (supervisor, _):
        cursor = supervisor.events.subscribe()
        await supervisor.replace("app.web.0", replacement()).wait()
        await settle()
        event = cursor.receive_nowait()
        assert isinstance(event, TransitionEvent)
        step = event.transition
        assert (step.previous, step.state) == (State.RUNNING, State.RUNNING)
        assert (step.ready, step.pid, step.spec.release) == (True, 1001, 2)
        assert cursor.receive_nowait() is None


@pytest.mark.parametrize("port", ["none", 8123])
async def test_the_new_child_may_come_after_the_old_one(
    port: str | int, autojump_clock: Clock
) -> None:
    world = World()
    async with first_version(world, port=port) as (supervisor, process):
        attempt = supervisor.replace("app.web.0", replacement(port=port, drain=5))
        await trio.sleep(1)
        old, new = world.spawner.children
        assert old.released
        assert look(process)[:4] == (State.BACKOFF, 1, None, False)
        assert process.error == "it makes way for another version"
        await attempt.wait()
        assert trio.current_time() == 4
        assert look(process) == (State.RUNNING, 2, 1001, True, None if port == "none" else 8123)
        assert not new.terminated.is_set()


async def test_who_stops_first_keeps_the_port(autojump_clock: Clock) -> None:
    async with first_version(World()) as (supervisor, process):
        await supervisor.replace("app.web.0", replacement(order="stop-first")).wait()
        assert look(process) == (State.RUNNING, 2, 1001, True, 20000)
        await supervisor.delete("app.web.0")
        again = await running(supervisor, spec_of(1))
        assert again.port == 20001


async def test_a_port_that_both_versions_had_stays_their_own(autojump_clock: Clock) -> None:
    async with first_version(World(), port=8123) as (supervisor, _):
        await supervisor.replace("app.web.0", replacement(port=8123)).wait()
        with pytest.raises(PortInUseError):
            supervisor.create(make_spec(node="other", port=8123))
        await supervisor.delete("app.web.0")
        await running(supervisor, make_spec(node="other", port=8123))


FAILURES: dict[str, tuple[str, str, Any]] = {
    "download": ("downloading", "refused", lambda world: world.fetcher.errors.append(
        TransientDownloadError("refused"))),
    "unpack": ("unpacking", "damaged", lambda world: world.workspaces.errors.append(
        UnpackError("damaged"))),
    "procfile": ("processing", "expected one of", lambda world: setattr(
        world.workspaces, "procfile", b"worker: x\n")),
    "spawn": ("starting", "no memory", lambda world: world.spawner.errors.append(
        SpawnError("no memory"))),
}  # fmt: skip


@pytest.mark.parametrize("order", ["start-first", "stop-first"])
@pytest.mark.parametrize("kind", FAILURES)
async def test_the_old_version_goes_on_when_the_new_one_fails(
    kind: str, order: str, autojump_clock: Clock
) -> None:
    """Whatever fails, and in each order: it is told which step failed, and why."""
    step, reason, fail = FAILURES[kind]
    world = World()
    async with first_version(world) as (supervisor, process):
        fail(world)
        attempt = supervisor.replace("app.web.0", replacement(order=order))
        with pytest.raises(ReplaceFailedError, match=reason) as info:
            await attempt.wait()
        assert info.value.step == step
        assert info.value.members == {"step": step, "lines": []}
        assert attempt.step == "failed"
        assert await process.wait_ready()
        assert look(process)[:2] == (State.RUNNING, 1)
        assert process.port == 20000
        stopped = kind == "spawn" and order == "stop-first"
        assert len(world.spawner.children) == (2 if stopped else 1)
        assert process.error is None if stopped else reason in str(process.error)
        assert world.workspaces.opened[1].removed.is_set()
        assert ("replace-failed", step) in [event[:2] for event in events_of(process)]


async def test_a_child_that_ends_before_it_is_ready(autojump_clock: Clock) -> None:
    """Its last lines are told."""
    world = World()
    async with first_version(world) as (supervisor, process):
        attempt = supervisor.replace("app.web.0", replacement())
        await trio.sleep(1)
        old, new = world.spawner.children
        old.write(b"not mine\n")
        for number in range(15):
            new.write(b"%d\n" % number)
            await settle()
            new.write_error(b"e%d\n" % number)
            await settle()
        new.exit(3)
        with pytest.raises(
            ReplaceFailedError, match="waiting failed: the child ended with"
        ) as info:
            await attempt.wait()
        assert trio.current_time() == 3
        assert len(info.value.lines) == 20
        assert info.value.lines[-1] == "e14"
        assert "not mine" not in info.value.lines
        assert look(process) == (State.RUNNING, 1, 1000, True, 20000)
        assert world.spawner.living == [old]


async def test_one_that_ends_well_is_not_ready_either(autojump_clock: Clock) -> None:
    world = World()
    async with first_version(world, restart=RestartPolicy.NEVER) as (supervisor, process):
        wish = replacement(restart=RestartPolicy.NEVER)
        attempt = supervisor.replace("app.web.0", wish)
        await trio.sleep(1)
        world.spawner.children[1].exit(0)
        with pytest.raises(ReplaceFailedError, match="exit code 0"):
            await attempt.wait()
        assert look(process)[:2] == (State.RUNNING, 1)


async def test_one_that_is_never_ready_is_given_up(autojump_clock: Clock) -> None:
    world = World()
    late = Readiness(log="ready", timeout=5)
    async with first_version(world) as (supervisor, process):
        attempt = supervisor.replace("app.web.0", replacement(ready=late))
        await trio.sleep(1)
        world.spawner.children[0].write(b"ready\n")
        with pytest.raises(ReplaceFailedError, match="not ready after 5 s: no line"):
            await attempt.wait()
        assert trio.current_time() == 7
        assert look(process) == (State.RUNNING, 1, 1000, True, 20000)
        assert world.spawner.children[1].released


async def test_a_newer_version_calls_off_the_one_under_way(autojump_clock: Clock) -> None:
    world = World()
    async with first_version(world) as (supervisor, process):
        first = supervisor.replace("app.web.0", replacement(2))
        await trio.sleep(1)
        second = supervisor.replace("app.web.0", replacement(3))
        with pytest.raises(ReplaceSupersededError):
            await first.wait_switched()
        await second.wait()
        assert look(process) == (State.RUNNING, 3, 1002, True, 20002)
        assert len(world.spawner.living) == 1
        assert process.error is None


async def test_one_may_be_called_off_without_another(autojump_clock: Clock) -> None:
    world = World()
    async with first_version(world) as (supervisor, process):
        process.cancel_replace()
        attempt = supervisor.replace("app.web.0", replacement(2))
        process.cancel_replace()
        with pytest.raises(ReplaceSupersededError):
            await attempt.wait_kept()
        with pytest.raises(ReplaceSupersededError):
            await attempt.wait()
        process.cancel_replace()
        assert look(process) == (State.RUNNING, 1, 1000, True, 20000)


async def test_a_third_version_comes_while_the_first_drains(autojump_clock: Clock) -> None:
    world = World()
    async with first_version(world) as (supervisor, process):
        second = supervisor.replace("app.web.0", replacement(2, drain=60))
        await second.wait_switched()
        third = supervisor.replace("app.web.0", replacement(3, drain=1))
        await third.wait()
        assert trio.current_time() == 7
        assert look(process)[:3] == (State.RUNNING, 3, 1002)
        assert [child.pid for child in world.spawner.living] == [1000, 1002]
        await second.wait()
        assert trio.current_time() == 64
        assert [child.pid for child in world.spawner.living] == [1002]


@pytest.mark.parametrize("after", [0, 0.5, 1.5, 3, 4])
@pytest.mark.parametrize("order", ["start-first", "stop-first"])
async def test_a_delete_leaves_nothing_of_either(
    order: str, after: float, autojump_clock: Clock
) -> None:
    """While it is fetched, unpacked, on trial and while the old one drains."""
    world = World()
    async with first_version(world) as (supervisor, process):
        world.fetcher.delay = world.workspaces.delay = 1
        attempt = supervisor.replace("app.web.0", replacement(order=order))
        await trio.sleep(after)
        await supervisor.delete("app.web.0")
        assert not world.spawner.living
        assert all(one.removed.is_set() for one in world.workspaces.opened)
        if attempt.has_switched:
            await attempt.wait()
        else:
            with pytest.raises(ReplaceFailedError, match="the process is to stop"):
                await attempt.wait()
        with pytest.raises(WrongStateError):
            process.replace(replacement())


async def test_the_old_one_may_crash_meanwhile(autojump_clock: Clock) -> None:
    """It is started again, and goes when the new one is ready."""
    world = World()
    async with first_version(world) as (supervisor, process):
        world.fetcher.delay = 10
        attempt = supervisor.replace("app.web.0", replacement(drain=0))
        await trio.sleep(1)
        world.spawner.children[0].exit(1)
        await trio.sleep(2)
        assert look(process)[:3] == (State.RUNNING, 1, 1001)
        await attempt.wait()
        assert look(process)[:3] == (State.RUNNING, 2, 1002)
        assert [child.pid for child in world.spawner.living] == [1002]


async def test_one_that_drains_is_not_started_again(autojump_clock: Clock) -> None:
    world = World()
    async with first_version(world) as (supervisor, _):
        attempt = supervisor.replace("app.web.0", replacement(drain=60))
        await attempt.wait_switched()
        world.spawner.children[0].exit(1)
        await attempt.wait()
        assert trio.current_time() == 4
        assert len(world.spawner.children) == 2


async def test_it_ends_as_its_own_version_asks_for(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    stop = StopPolicy(signal=signal.SIGINT, timeout=3)
    async with first_version(world, stop=stop) as (supervisor, process):
        await supervisor.replace("app.web.0", replacement(drain=1)).wait()
        assert trio.current_time() == 8
        assert world.spawner.children[0].asked_by is signal.SIGINT
        process.kill()


async def test_a_version_that_failed_makes_room_for_one_that_works(autojump_clock: Clock) -> None:
    world = World(workspaces=FakeWorkspaces(errors=[UnpackError("damaged")]))
    async with world.open() as supervisor:
        process = supervisor.create(spec_of(1))
        assert await process.wait_state(State.UNPACK_FAILURE) is State.UNPACK_FAILURE
        await supervisor.replace("app.web.0", replacement(order="stop-first")).wait()
        assert look(process) == (State.RUNNING, 2, 1000, True, 20000)
        assert process.error is None


async def test_it_waits_for_a_child_that_is_being_started(autojump_clock: Clock) -> None:
    """That one ends as soon as it was started, and comes again if the new one fails."""
    world = World(spawner=FakeSpawner(delay=4))
    async with world.open() as supervisor:
        process = supervisor.create(spec_of(1))
        await trio.sleep(1)
        attempt = supervisor.replace("app.web.0", replacement(order="stop-first"))
        await trio.sleep(3)
        await settle()
        assert world.spawner.children[0].released
        world.spawner.errors.append(SpawnError("no memory"))
        with pytest.raises(ReplaceFailedError, match="no memory"):
            await attempt.wait()
        assert await process.wait_ready()
        assert look(process)[:3] == (State.RUNNING, 1, 1001)


async def test_it_may_be_asked_for_before_the_first_version_runs(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = supervisor.create(spec_of(1))
        attempt = process.replace(replacement())
        await attempt.wait()
        assert look(process)[:2] == (State.RUNNING, 2)


async def test_what_cannot_be_is_refused(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(unlimited={"tasks"}))
    async with first_version(world) as (supervisor, process):
        supervisor.create(spec_of(1, app="other", port=8123))
        with pytest.raises(PortInUseError):
            process.replace(replacement(port=8123))
        with pytest.raises(BadRequestError, match="not valid") as info:
            process.replace(replacement(port=80, order="start-first"))
        assert info.value.errors == (
            "only one child can have the port 80: expected stop-first @ $.order",
        )
        with pytest.raises(BadRequestError, match="not valid"):
            supervisor.replace("app.web.0", replacement(limits=ResourceLimits(tasks=3)))
        assert process.replacing is None
        supervisor.close()
        with pytest.raises(StoppingError):
            supervisor.replace("app.web.0", replacement())


@asynccontextmanager
async def life(store: FakeStore) -> AsyncIterator[tuple[World, Supervisor]]:
    world = World(state=store)
    async with world.open() as supervisor:
        supervisor.restore((await store.read_all()).documents)
        yield world, supervisor


async def replace(supervisor: Supervisor, wish: Replacement) -> ReplaceAttempt:
    attempt = supervisor.replace("app.web.0", wish)
    await attempt.wait_kept()
    return attempt


async def test_what_was_replaced_comes_back(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as (_, supervisor):
        await running(supervisor, spec_of(1))
        await (await replace(supervisor, replacement())).wait()
    async with life(store) as (_, supervisor):
        process = supervisor.get("app.web.0")
        assert await process.wait_ready()
        assert look(process)[:2] == (State.RUNNING, 2)
        assert (process.port, process.restarts) == (20001, 2)


@pytest.mark.parametrize("lasts", [True, False])
async def test_one_under_way_goes_on_in_the_next_life(lasts: bool, autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as (world, supervisor):
        await running(supervisor, spec_of(1))
        world.fetcher.delay = 100
        await replace(supervisor, replacement(lasts=lasts))
    async with life(store) as (_, supervisor):
        process = supervisor.get("app.web.0")
        assert await process.wait_ready()
        assert process.spec.release == 1
        await trio.sleep(10)
        assert look(process)[:2] == (State.RUNNING, 2 if lasts else 1)


async def test_one_that_failed_does_not_come_again(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as (world, supervisor):
        await running(supervisor, spec_of(1))
        world.workspaces.errors.append(UnpackError("damaged"))
        with pytest.raises(ReplaceFailedError):
            await (await replace(supervisor, replacement())).wait()
    async with life(store) as (world, supervisor):
        await trio.sleep(10)
        assert supervisor.get("app.web.0").replacing is None


async def test_one_that_may_run_once_is_not_tried_again(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as (_, supervisor):
        await running(supervisor, spec_of(1))
        await replace(supervisor, replacement(restart=RestartPolicy.NEVER))
    async with life(store) as (_, supervisor):
        assert supervisor.get("app.web.0").replacing is None


async def test_a_port_that_is_gone_meanwhile_calls_it_off(autojump_clock: Clock) -> None:
    """The process that has it now comes back all the same."""
    store = FakeStore()
    async with life(store) as (world, supervisor):
        await running(supervisor, spec_of(1, node="web.1", port=8123))
        await running(supervisor, spec_of(1))
        world.fetcher.delay = 100
        await supervisor.delete("app.web.1")
        await replace(supervisor, replacement(port=8123))
        document = await store.read_all()
        [one] = document.documents
        await store.compare_and_set(
            ("process", "app.web.1"),
            {
                **one.value,
                "spec": {**one.value["spec"], "node": "web.1", "port": 8123},  # type: ignore[dict-item]
                "replacing": None,
            },
            expected=0,
        )
        await store.compare_and_set(one.key, None, expected=one.revision)
        await store.compare_and_set(one.key, one.value, expected=0)
    async with life(store) as (_, supervisor):
        assert supervisor.get("app.web.1").spec.port == 8123
        assert supervisor.get("app.web.0").replacing is None


@pytest.mark.parametrize("when", ["wish", "switch", "end"])
async def test_a_full_disk_leaves_the_old_version(when: str, autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as (world, supervisor):
        process = await running(supervisor, spec_of(1))
        if when == "wish":
            store.errors.append(StateFullError("the disk is full"))
        attempt = supervisor.replace("app.web.0", replacement())
        if when == "wish":
            with pytest.raises(StateFullError):
                await attempt.wait_kept()
        else:
            await attempt.wait_kept()
            if when == "end":
                world.spawner.errors.append(SpawnError("no memory"))
            store.errors.append(StateFullError("the disk is full"))
        with pytest.raises(RequestError):
            await attempt.wait()
        assert look(process)[:3] == (State.RUNNING, 1, 1000)
        await settle()
        assert len(world.spawner.living) == 1


async def test_a_disk_that_hangs_holds_up_the_switch_alone(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as (world, supervisor):
        process = await running(supervisor, spec_of(1))
        await trio.sleep(20)
        first = await replace(supervisor, replacement())
        await trio.sleep(1)
        store.hang()
        await trio.sleep(2)
        world.spawner.children[0].exit(1)
        await settle()
        second = supervisor.replace("app.web.0", replacement(3))
        store.go_on()
        await second.wait()
        await first.wait()
        assert look(process)[:2] == (State.RUNNING, 3)


async def test_a_child_may_end_while_the_switch_is_kept(autojump_clock: Clock) -> None:
    """Then the new version has the place, and starts another."""
    store = FakeStore()
    async with life(store) as (world, supervisor):
        process = await running(supervisor, spec_of(1))
        attempt = await replace(supervisor, replacement(drain=0))
        await trio.sleep(1)
        store.hang()
        await trio.sleep(2)
        world.spawner.children[1].exit(1)
        await settle()
        assert look(process)[:3] == (State.RUNNING, 1, 1000)
        store.go_on()
        await attempt.wait()
        assert look(process)[:3] == (State.BACKOFF, 2, None)
        assert await process.wait_ready()
        assert look(process)[:3] == (State.RUNNING, 2, 1002)


async def test_a_stop_while_the_switch_is_kept(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as (world, supervisor):
        process = await running(supervisor, spec_of(1))
        attempt = await replace(supervisor, replacement())
        await trio.sleep(1)
        store.hang()
        await trio.sleep(2)
        process.stop()
        store.go_on()
        await process.wait_state(State.GONE)
        await attempt.wait()
        assert not world.spawner.living

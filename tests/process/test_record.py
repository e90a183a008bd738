"""What outlives the agent, on a store of fakes."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.child.seam import Exit
from smartmob_agent.errors import ProcessNotFoundError, StartError
from smartmob_agent.process.policies import Readiness, RestartPolicy, StopPolicy
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.record import KeptProcess, ProcessRecord, parse_record
from smartmob_agent.process.states import State
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.state.seam import StateFailedError, StateFullError
from smartmob_agent.testing import FakeNetwork, FakeSpawner, FakeStore
from tests.process.world import EPOCH, World, make_spec, running, settle

Clock = trio.testing.MockClock


@asynccontextmanager
async def life(store: FakeStore, world: World | None = None) -> AsyncIterator[Supervisor]:
    """One life of the agent."""
    async with (world or World(state=store)).open() as supervisor:
        supervisor.restore((await store.read_all()).documents)
        yield supervisor


async def names(store: FakeStore) -> list[str]:
    return [one.key[1] for one in (await store.read_all()).documents]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "process_type": None,
            "command": "ls",
            "root": "b",
            "env": {"A": "ü"},
            "restart": RestartPolicy.NEVER,
            "port": 80,
            "ready": Readiness(http="/", timeout=3),
            "stop": StopPolicy(signal=signal.SIGINT, timeout=1.5, to="app"),
            "build": "never",
            "source_sha256": "a" * 64,
        },
    ],
)
def test_a_document_has_everything(changes: dict[str, Any]) -> None:
    kept = KeptProcess(
        spec=make_spec(**changes),
        created_at=EPOCH,
        found_sha256="b" * 64,
        port=20001,
        starts=3,
        has_finished=True,
        exit=Exit(signal=9),
    )
    document = json.loads(json.dumps(kept.document))
    assert parse_record(kept.key, document) == kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": 2}, "expected a document of version 1, found 2 @ process/app.web.0: start the"),
        ({"spec": 1}, "@ $.spec, in process/app.web.0: start the agent that has written it"),
        ({"extra": 1}, "extra fields found (extra) @ $, in process/app.web.0: start the agent"),
        ({"created_at": "x"}, "@ $.created_at, in process/app.web.0: "),
        ({"exit": {"code": "x"}}, "@ $.exit.code, in process/app.web.0: "),
    ],
)
def test_a_document_of_others_is_refused(change: dict[str, object], message: str) -> None:
    kept = KeptProcess(spec=make_spec(), created_at=EPOCH)
    with pytest.raises(StartError, match=re.escape(message)):
        parse_record(kept.key, {**kept.document, **change})


def test_a_document_of_an_older_agent_is_read() -> None:
    """What it has not written is as it was then."""
    kept = KeptProcess(spec=make_spec(), created_at=EPOCH)
    document = {**kept.document, "spec": dict(kept.document["spec"])}
    for name in ("found_sha256", "port", "starts", "has_finished", "exit"):
        del document[name]
    for name in ("ready", "stop", "limits", "build", "restart", "port", "env", "root"):
        del document["spec"][name]
    assert parse_record(kept.key, document) == kept


async def test_documents_of_other_kinds_are_left_alone(autojump_clock: Clock) -> None:
    """They are others' to bring back."""
    store = FakeStore()
    await store.compare_and_set(("app", "shop"), {"v": 7}, expected=0)
    async with life(store) as supervisor:
        assert list(supervisor) == []
        await running(supervisor, make_spec(app="shop"))
        await supervisor.delete("shop.web.0")
    assert await names(store) == ["shop"]


async def test_nothing_begins_where_one_document_cannot_be_read(autojump_clock: Clock) -> None:
    store = FakeStore()
    kept = KeptProcess(spec=make_spec(), created_at=EPOCH)
    await store.compare_and_set(kept.key, kept.document, expected=0)
    await store.compare_and_set(("process", "other"), {"v": 2}, expected=0)
    async with World(state=store).open() as supervisor:
        with pytest.raises(StartError, match="process/other"):
            supervisor.restore((await store.read_all()).documents)
        assert list(supervisor) == []


async def test_what_was_created_comes_back(autojump_clock: Clock) -> None:
    """In its order, with its time, its port, its digest and its count of starts."""
    store = FakeStore()
    async with life(store) as supervisor:
        first = await running(supervisor, make_spec(env={"A": "1"}))
        await trio.sleep(5)
        await running(supervisor, make_spec(node="web.1"))
        seen = (first.created_at, first.port, first.files.source.sha256)
    world = World(state=store)
    async with life(store, world) as supervisor:
        assert [one.slug for one in supervisor] == ["app.web.0", "app.web.1"]
        assert supervisor.is_restoring
        again = supervisor.get("app.web.0")
        await again.wait_ready()
        assert (again.created_at, again.port, again.files.source.sha256) == seen
        assert (again.starts, again.restarts) == (2, 1)
        environments = [child.command.env for child in world.spawner.children]
        assert [env["A"] for env in environments if env["SMARTMOB_NODE"] == "web.0"] == ["1"]
        await settle()
        assert not supervisor.is_restoring


async def test_what_comes_back_needs_no_server(autojump_clock: Clock) -> None:
    store = FakeStore()
    world = World(state=store)
    async with life(store, world) as supervisor:
        await running(supervisor)
    later = World(state=store, workspaces=world.workspaces)
    async with life(store, later) as supervisor:
        assert await supervisor.get("app.web.0").wait_ready()
        assert (world.fetcher.requests != [], later.fetcher.requests) == (True, [])


async def test_what_was_deleted_does_not(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as supervisor:
        await running(supervisor)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(supervisor.delete, "app.web.0")
        assert await names(store) == []
        with pytest.raises(ProcessNotFoundError):
            supervisor.get("app.web.0")
        await running(supervisor)  # Under the same name.
    async with life(store) as supervisor:
        assert [one.starts for one in supervisor] == [1]


async def test_a_create_without_room_leaves_nothing(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as supervisor:
        store.full = True
        process = supervisor.create(make_spec())
        with pytest.raises(StateFullError):
            await process.wait_kept()
        assert (process.state, process.starts, list(supervisor)) == (State.GONE, 0, [])
        store.full = False
        await running(supervisor)


async def test_a_delete_without_room_changes_nothing(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as supervisor:
        process = await running(supervisor)
        store.full = True
        with pytest.raises(StateFullError):
            await supervisor.delete("app.web.0")
        assert (process.state, process.ready) == (State.RUNNING, True)
        store.full = False
        await supervisor.delete("app.web.0")
        assert list(supervisor) == []


async def test_a_delete_goes_on_without_its_client(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as supervisor:
        process = await running(supervisor)
        store.hang()
        with trio.move_on_after(1):
            await supervisor.delete("app.web.0")
        assert process.state is State.RUNNING
        store.go_on()
        await process.wait_state(State.GONE)
        assert await names(store) == []


async def test_a_disk_that_hangs_is_not_waited_for_for_ever(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as supervisor:
        store.hang()
        process = supervisor.create(make_spec())
        with pytest.raises(StateFailedError, match="does not answer"):
            await process.wait_kept()
        assert trio.current_time() == 10
        store.go_on()


async def test_a_delete_beats_a_create_that_is_not_answered(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as supervisor:
        store.hang()
        supervisor.create(make_spec())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.delete, "app.web.0")
            await settle()
            store.go_on()
        assert await names(store) == []
    async with life(store) as supervisor:
        assert list(supervisor) == []


@pytest.mark.parametrize("policy", [RestartPolicy.NEVER, RestartPolicy.ON_FAILURE])
async def test_what_has_finished_stays_so(autojump_clock: Clock, policy: RestartPolicy) -> None:
    store = FakeStore()
    world = World(state=store)
    async with life(store, world) as supervisor:
        process = await running(supervisor, make_spec(restart=policy))
        world.spawner.children[0].exit(0)
        await process.wait_state(State.FINISHED)
    async with life(store) as supervisor:
        process = supervisor.get("app.web.0")
        await process.wait_state(State.FINISHED)
        assert (process.exit, process.error, process.starts) == (Exit(code=0), None, 1)
        process.restart()
        assert await process.wait_ready()
        assert process.starts == 2


async def finished(
    world: World, supervisor: Supervisor, policy: RestartPolicy = RestartPolicy.ON_FAILURE
) -> ManagedProcess:
    process = await running(supervisor, make_spec(restart=policy))
    world.spawner.children[0].exit(0)
    await process.wait_state(State.FINISHED)
    return process


async def test_what_had_finished_and_is_wanted_again_comes_back(autojump_clock: Clock) -> None:
    """As soon as that is answered, however soon the agent is killed."""
    store = FakeStore()
    world = World(state=store)
    async with life(store, world) as supervisor:
        process = await finished(world, supervisor)
        await process.keep_and_restart()
        killed = (await store.read_all()).documents
        await process.wait_ready()
        await process.keep_and_restart()
        assert process.state is State.RUNNING
    async with World().open() as supervisor:
        supervisor.restore(killed)
        assert await supervisor.get("app.web.0").wait_ready()


async def test_what_runs_once_and_is_wanted_again_was_interrupted(autojump_clock: Clock) -> None:
    """It may have run when the agent was killed."""
    store = FakeStore()
    world = World(state=store)
    async with life(store, world) as supervisor:
        await (await finished(world, supervisor, RestartPolicy.NEVER)).keep_and_restart()
        killed = (await store.read_all()).documents
    async with World().open() as supervisor:
        supervisor.restore(killed)
        process = supervisor.get("app.web.0")
        await process.wait_state(State.FINISHED)
        assert str(process.error).startswith("it was interrupted by the end of the agent")
        await process.keep_and_restart()
        assert await process.wait_ready()


async def test_a_restart_without_room_changes_nothing(autojump_clock: Clock) -> None:
    store = FakeStore()
    world = World(state=store)
    async with life(store, world) as supervisor:
        process = await finished(world, supervisor)
        store.full = True
        with pytest.raises(StateFullError):
            await process.keep_and_restart()
        await trio.sleep(100)
        assert (process.state, process.starts) == (State.FINISHED, 1)


async def test_a_restart_whose_client_leaves_is_kept_and_begun(autojump_clock: Clock) -> None:
    store = FakeStore()
    world = World(state=store)
    async with life(store, world) as supervisor:
        process = await finished(world, supervisor)
        store.hang()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.keep_and_restart)
            await settle()
            nursery.cancel_scope.cancel()
            store.go_on()
        assert await process.wait_ready()
        assert process.starts == 2


async def test_what_runs_once_is_not_run_again(autojump_clock: Clock) -> None:
    """Nobody knows how far it came."""
    store = FakeStore()
    async with life(store) as supervisor:
        await running(supervisor, make_spec(restart=RestartPolicy.NEVER))
    world = World(state=store)
    async with life(store, world) as supervisor:
        process = supervisor.get("app.web.0")
        await process.wait_state(State.FINISHED)
        assert str(process.error).startswith("it was interrupted by the end of the agent")
        await trio.sleep(100)
        assert world.spawner.children == []


async def test_what_cannot_be_kept_as_started_is_not_started_once(autojump_clock: Clock) -> None:
    store = FakeStore()
    world = World(state=store, spawner=FakeSpawner(delay=1))
    async with life(store, world) as supervisor:
        process = supervisor.create(make_spec(restart=RestartPolicy.NEVER))
        await process.wait_kept()
        store.full = True
        await process.wait_state(State.BACKOFF)
        assert str(process.error).startswith("cannot keep that it was started")
        assert world.spawner.children == []
        store.full = False
        assert await process.wait_ready()


async def test_a_crash_loop_does_not_write_for_ever(autojump_clock: Clock) -> None:
    """Once in ten seconds, and at the end."""
    store = FakeStore()
    world = World(state=store)
    async with life(store, world) as supervisor:
        await running(supervisor)
        before = (await store.read_all()).revision
        for _ in range(5):
            world.spawner.children[-1].exit()
            await trio.sleep(12)
        writes = (await store.read_all()).revision - before
        starts = supervisor.get("app.web.0").starts
        assert writes <= 6
        store.full = True
        world.spawner.children[-1].exit()
        await trio.sleep(30)
        assert supervisor.get("app.web.0").starts > starts
        store.full = False
    [document] = (await store.read_all()).documents
    assert document.value["starts"] == len(world.spawner.children)


async def test_a_port_that_somebody_has_now_is_another(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with life(store) as supervisor:
        assert (await running(supervisor)).port == 20000
    world = World(state=store, network=FakeNetwork(taken={20000}))
    async with life(store, world) as supervisor:
        process = supervisor.get("app.web.0")
        await process.wait_ready()
        assert process.port == 20001


async def test_documents_of_others_stop_the_start() -> None:
    store = FakeStore()
    await store.compare_and_set(("process", "a.b"), {"v": 9}, expected=0)
    await store.compare_and_set(("app", "a"), {}, expected=0)
    with pytest.RaisesGroup(StartError, flatten_subgroups=True):
        async with life(store):
            pass


async def test_the_archive_stays_in_the_cache(autojump_clock: Clock) -> None:
    store = FakeStore()
    world = World(state=store)
    async with life(store, world) as supervisor:
        await running(supervisor)
        [archive] = world.workspaces.cache.archives.values()
        assert archive.held == 1
        await supervisor.delete("app.web.0")
        assert archive.held == 0


def test_nothing_is_kept_without_a_store() -> None:
    kept = attrs.evolve(KeptProcess(spec=make_spec(), created_at=EPOCH), starts=1)
    assert kept.key == ("process", "app.web.0")


async def test_without_a_store_nothing_is_written() -> None:
    record = ProcessRecord(None)
    await record.write(KeptProcess(spec=make_spec(), created_at=EPOCH))
    await record.remove()
    assert (record.kept, record.is_lasting) == (None, False)


async def test_what_was_removed_is_not_written_again() -> None:
    """A start may be about to be kept when its process is deleted."""
    store = FakeStore()
    record, kept = ProcessRecord(store), KeptProcess(spec=make_spec(), created_at=EPOCH)
    await record.write(kept)
    await record.remove()
    await record.remove()
    await record.write(attrs.evolve(kept, starts=1))
    assert (await names(store), record.kept) == ([], None)

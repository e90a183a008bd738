"""Scenarios of processes without HTTP: what they go through, and what holds after it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from functools import partial

import trio

from smartmob_agent.child.spawn import Exit
from smartmob_agent.config import AgentConfig, Cache
from smartmob_agent.errors import (
    DownloadError,
    PassingDownloadError,
    PassingError,
    SpawnError,
    StoppingError,
    UnpackError,
)
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeFetcher, FakeSpawner, FakeWorkspaces, Trial
from smartmob_agent.testing.trial import Scenario
from tests.determinism.stage import check_consistent, check_ended, check_nothing_left
from tests.process.world import World, make_spec, running, settle

STOP = AgentConfig().stop_timeout
KILLED = Exit(signal=signal.SIGKILL)


async def life(trial: Trial) -> None:
    """Each step takes its time, and the child is stubborn: it is cancelled in each state."""
    world = World(
        fetcher=FakeFetcher(delay=2),
        workspaces=FakeWorkspaces(delay=3, remove_delay=4),
        spawner=FakeSpawner(delay=5, obey=False),
    )
    with trial.subject():
        async with world.open() as supervisor:
            process = supervisor.create(make_spec())
            first = await world.spawner.next_child()
            await trio.sleep(5)
            first.exit(1)  # at 15; tried again at 16
            await world.spawner.next_child()
            await trio.sleep(4)
            await supervisor.delete(process.slug)  # from 25 to 39
    check_nothing_left(world)
    check_ended(process)
    at, killed = trial.cancelled_at, process.exit == KILLED
    if at is None or at > 25:
        assert (trio.current_time(), process.console.end) == (39, ConsoleEnd.PROCESS)
        return
    assert trio.current_time() == at + (STOP if killed else 0) + 4
    assert killed or at not in (11, 12, 13, 14, 22, 23, 24)
    assert at == 25 or process.console.end is ConsoleEnd.AGENT


async def restarts(trial: Trial) -> None:
    """What may mend itself is tried again: downloads, the disk, spawns, crashes."""
    world = World(
        fetcher=FakeFetcher(errors=[PassingDownloadError("503"), PassingDownloadError("cut")]),
        workspaces=FakeWorkspaces(errors=[PassingError("disk full")]),
        spawner=FakeSpawner(errors=[SpawnError("no memory")]),
    )
    starts: list[float] = []
    with trial.subject():
        async with world.open() as supervisor:
            process = supervisor.create(make_spec())
            for _ in range(3):
                child = await world.spawner.next_child()
                starts.append(trio.current_time())
                child.write(b"last words")
                child.exit(1)
            await process.wait_state(State.BACKOFF)
    assert starts == [8.0, 10.0, 14.0][: len(starts)]
    assert trio.current_time() == (14 if trial.cancelled_at is None else trial.cancelled_at)
    check_nothing_left(world)
    check_ended(process, end=ConsoleEnd.AGENT)


async def failure(state: State, make_world: Callable[[], World], trial: Trial) -> None:
    """It is parked until someone deletes it."""
    world = make_world()
    with trial.subject():
        async with world.open() as supervisor:
            process = supervisor.create(make_spec())
            await process.wait_state(state)
            assert list(supervisor) == [process]
            await trio.sleep(60)
            assert process.state is state
            await supervisor.delete(process.slug)
    assert trio.current_time() == (60 if trial.cancelled_at is None else trial.cancelled_at)
    check_nothing_left(world)
    check_ended(process)


FAILURES: Mapping[State, Callable[[], World]] = {
    State.DOWNLOAD_FAILURE: lambda: World(fetcher=FakeFetcher(errors=[DownloadError("404")])),
    State.UNPACK_FAILURE: lambda: World(workspaces=FakeWorkspaces(errors=[UnpackError("no")])),
    State.NO_PROCFILE: lambda: World(workspaces=FakeWorkspaces(procfile=None)),
    State.INVALID_PROCFILE: lambda: World(workspaces=FakeWorkspaces(procfile=b"?")),
    State.UNKNOWN_PROCESS_TYPE: lambda: World(workspaces=FakeWorkspaces(procfile=b"a: b\n")),
}


async def create_where_one_was(trial: Trial) -> None:
    """A slug is free as soon as nothing is left, and not before."""
    world, created = World(spawner=FakeSpawner(obey=False)), []
    async with world.open() as supervisor:
        old = await running(supervisor)
        with trial.subject():
            await supervisor.delete(old.slug)
            assert world.spawner.living == []
            created.append(supervisor.create(make_spec()))
            await created[0].wait_state(State.RUNNING)
        await settle()
        check_consistent(world, supervisor)
    assert trio.current_time() == STOP * (2 if created else 1)
    check_nothing_left(world)
    check_ended(old, *created)


async def delete_twice(trial: Trial) -> None:
    """One of the two who wait goes away: the process ends all the same, for the other."""
    world, ends = World(spawner=FakeSpawner(obey=False)), []
    async with world.open() as supervisor:
        process = await running(supervisor)

        async def delete_later() -> None:
            await trio.sleep(3)
            await supervisor.delete(process.slug)
            ends.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete_later)
            await settle()
            with trial.subject():
                await supervisor.delete(process.slug)
                ends.append(trio.current_time())
        assert process.state is State.GONE
        check_nothing_left(world)
        assert list(supervisor) == []
    assert set(ends) == {STOP}
    assert trial.cancelled or len(ends) == 2
    check_ended(process, end=ConsoleEnd.PROCESS)


async def shutdown(trial: Trial) -> None:
    """The agent ends: all processes at once, and a kill ends what would take longer."""
    world = World(spawner=FakeSpawner(obey=False))
    processes: list[ManagedProcess] = []
    with trial.subject():
        async with world.open() as supervisor:
            processes += [await running(supervisor, make_spec(app)) for app in "ab"]
            await trio.sleep(5)
            supervisor.close()
            await trio.sleep(6)
            supervisor.kill()
    at, end = trial.cancelled_at, trio.current_time()
    if at is None:
        assert end == 11
    elif not world.spawner.children:
        assert end == 0
    else:  # Cancelled before it killed, nobody is left who would: they have their full time.
        assert end == STOP + min(at, 5) or (at, end) == (11, 11)
    check_nothing_left(world)
    check_ended(*processes, end=ConsoleEnd.AGENT)


async def shared_download(trial: Trial) -> None:
    """Two processes want one archive, one of them is deleted: the other gets it in time."""
    world = World(fetcher=FakeFetcher(delay=4))
    async with world.open() as supervisor:
        first, second = (supervisor.create(make_spec(app)) for app in "ab")
        await trio.sleep(1)
        with trial.subject():
            await supervisor.delete(first.slug)
        assert first.state is State.GONE or trial.cancelled
        await second.wait_state(State.RUNNING)
        assert trio.current_time() == 4
        assert len(world.fetcher.requests) == 1
        check_consistent(world, supervisor)
    check_nothing_left(world)
    check_ended(first, second)


async def upload(trial: Trial) -> None:
    """What was uploaded goes when nobody uses it, whenever its client went."""
    world = World(config=AgentConfig(cache=Cache(upload_timeout=100)))
    pieces = [b"PK", b"\3\4", b""]

    async def read() -> bytes:
        await trio.sleep(1)
        return pieces.pop(0)

    async with world.open() as supervisor:
        with trial.subject():
            uploaded = await supervisor.uploads.receive(read)
            process = supervisor.create(make_spec(source_url=uploaded.url))
            await process.wait_state(State.RUNNING)
            await supervisor.delete(process.slug)
        ended = trio.current_time()
        assert ended == (3 if trial.cancelled_at is None else trial.cancelled_at)
        await trio.sleep(101)
        check_consistent(world, supervisor)
        assert world.workspaces.cache.archives == {}
    check_nothing_left(world)


async def refused(trial: Trial) -> None:
    """What comes when the agent stops is refused, and leaves nothing."""
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        with trial.subject():
            supervisor.close()
            await trio.sleep(1)
            try:
                supervisor.create(make_spec("late"))
            except StoppingError:
                pass
            else:
                raise AssertionError("it should be refused")
            await supervisor.delete(process.slug)
    assert (trio.current_time(), len(world.spawner.children)) == (STOP, 1)
    check_nothing_left(world)
    check_ended(process, end=ConsoleEnd.AGENT)


LIVES: Mapping[str, Scenario] = {
    "life": life,
    "restarts": restarts,
    **{str(state): partial(failure, state, make) for state, make in FAILURES.items()},
    "create where one was": create_where_one_was,
    "delete twice": delete_twice,
    "shutdown": shutdown,
    "shared download": shared_download,
    "upload": upload,
    "refused": refused,
}

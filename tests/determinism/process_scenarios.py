"""Scenarios of processes without HTTP: what they go through, and what holds after it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from functools import partial

import trio

from smartmob_agent.child.seam import Exit
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import (
    BuildError,
    DownloadError,
    SpawnError,
    StoppingError,
    TransientDownloadError,
    TransientError,
    UnpackError,
)
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.states import State
from smartmob_agent.testing import (
    FakeBuilder,
    FakeFetcher,
    FakeSpawner,
    FakeWorkspaces,
    Scenario,
    Trial,
)
from tests.determinism.memory_agent import check_consistent, check_ended, check_nothing_left
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
        fetcher=FakeFetcher(errors=[TransientDownloadError("503"), TransientDownloadError("cut")]),
        workspaces=FakeWorkspaces(errors=[TransientError("disk full")]),
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
    State.INVALID_APP_JSON: lambda: World(workspaces=FakeWorkspaces(app_json=b"[]")),
    State.BUILD_FAILURE: lambda: World(builders=[FakeBuilder(errors=[BuildError("gone")])]),
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
        check_nothing_left(world, closed=False)
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


async def asked_restart(trial: Trial) -> None:
    """Someone wants a new child while one runs that is stubborn."""
    world = World(spawner=FakeSpawner(obey=False))
    with trial.subject():
        async with world.open() as supervisor:
            process = supervisor.create(make_spec())
            await process.wait_state(State.RUNNING)
            await trio.sleep(2)
            process.restart()
            await process.wait_started(1)
            assert trial.cancelled or (process.starts, trio.current_time()) == (2, 12)
            supervisor.close()
    at, end = trial.cancelled_at, trio.current_time()
    if at is None:
        assert end == 22
    elif world.spawner.children:  # The first is on its way out from 2 on.
        assert end in ({STOP + at} if at < 2 else {12, 22} if at == 12 else {12 if at < 12 else 22})
    check_nothing_left(world)
    check_ended(process, end=ConsoleEnd.AGENT)


LIVES: Mapping[str, Scenario] = {
    "life": life,
    "restarts": restarts,
    "asked restart": asked_restart,
    **{str(state): partial(failure, state, make) for state, make in FAILURES.items()},
    "create where one was": create_where_one_was,
    "delete twice": delete_twice,
    "shutdown": shutdown,
    "refused": refused,
}

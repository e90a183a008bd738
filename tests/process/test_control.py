"""Started again, and sent signals, on the virtual clock."""

from __future__ import annotations

import signal

import pytest
import trio
import trio.lowlevel
import trio.testing

from smartmob_agent.child.seam import Exit
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import SpawnError, TransientDownloadError
from smartmob_agent.process.states import State, WrongStateError
from smartmob_agent.testing import FakeFetcher, FakeSpawner, FakeWorkspaces
from tests.process.world import EPOCH, World, make_spec, running, settle

Clock = trio.testing.MockClock


async def test_a_restart_ends_the_child_and_starts_another_at_once(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        await trio.sleep(1)
        process.restart()
        await process.wait_started(1)
        first, second = world.spawner.children
        assert first.terminated.is_set()
        assert (process.state, process.pid, process.restarts) == (State.RUNNING, second.pid, 1)
        assert process.exit == Exit(signal=signal.SIGTERM)
        assert (process.error, trio.current_time()) == (None, 1)


async def test_a_restart_kills_what_does_not_obey(autojump_clock: Clock) -> None:
    """The process is running, with its pid, until the child is gone."""
    world = World(spawner=FakeSpawner(obey=False), config=AgentConfig(stop_timeout=7))
    async with world.open() as supervisor:
        process = await running(supervisor)
        process.restart()
        await trio.sleep(6)
        assert (process.state, process.pid) == (State.RUNNING, world.spawner.children[0].pid)
        process.restart()
        await process.wait_started(1)
        assert (trio.current_time(), len(world.spawner.children)) == (7, 2)


async def test_the_console_tells_of_both_children(autojump_clock: Clock) -> None:
    async with World().open() as supervisor:
        process = await running(supervisor)
        process.restart()
        await process.wait_started(1)
        records = [dict(record) for item in process.console.items for record in item.records]
        told = [(record["event"], record["pid"]) for record in records]
        assert told == [("started", 1000), ("exited", 1000), ("started", 1001)]


async def test_a_restart_skips_the_rest_of_a_backoff(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
            world.spawner.children[-1].exit(1)
            await process.wait_state(State.BACKOFF)
            await process.wait_state(State.RUNNING)
        world.spawner.children[-1].exit(1)
        await process.wait_state(State.BACKOFF)
        before = trio.current_time()
        await trio.sleep(10)
        process.restart()
        assert process.next_start_at is not None
        assert (process.next_start_at - EPOCH).total_seconds() == before + 10
        await process.wait_started(process.starts)
        assert (process.state, trio.current_time()) == (State.RUNNING, before + 10)


async def test_after_a_restart_delays_begin_anew(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        for _ in range(3):
            world.spawner.children[-1].exit(1)
            await process.wait_state(State.BACKOFF)
            await process.wait_state(State.RUNNING)
        process.restart()
        await process.wait_started(process.starts)
        before = trio.current_time()
        world.spawner.children[-1].exit(1)
        await process.wait_state(State.BACKOFF)
        await process.wait_state(State.RUNNING)
        assert trio.current_time() == before + 1


async def test_a_restart_while_an_ended_tree_is_cleared_skips_the_backoff(
    autojump_clock: Clock,
) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        child = world.spawner.children[0]
        child.exit(1)
        await process.wait_state(State.BACKOFF)
        process.restart()
        await process.wait_started(1)
        assert trio.current_time() == 0


async def test_a_restart_in_the_moment_in_which_the_child_ends_skips_the_backoff(
    autojump_clock: Clock,
) -> None:
    """The process has been told of the end, and has not noticed it yet."""
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        child = await world.spawner.next_child()
        await settle()
        child.exit(1)
        process.restart()
        await process.wait_started(1)
        assert (process.state, process.starts, trio.current_time()) == (State.RUNNING, 2, 0)


async def test_a_restart_of_what_is_about_to_start_changes_nothing(autojump_clock: Clock) -> None:
    world = World(fetcher=FakeFetcher(delay=3))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.DOWNLOADING)
        process.restart()
        await process.wait_started(0)
        assert (trio.current_time(), len(world.fetcher.requests)) == (3, 1)


async def test_waiting_ends_when_the_start_is_put_off(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        world.spawner.errors.append(SpawnError("no room"))
        process.restart()
        await process.wait_started(1)
        assert (process.state, process.error) == (State.BACKOFF, "no room")
        assert trio.current_time() == 0


async def test_waiting_ends_when_there_will_be_no_start(autojump_clock: Clock) -> None:
    world = World(
        fetcher=FakeFetcher(errors=[TransientDownloadError("later")]),
        workspaces=FakeWorkspaces(procfile=None),
    )
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.BACKOFF)
        process.restart()
        await process.wait_started(0)
        assert (process.state, trio.current_time()) == (State.NO_PROCFILE, 0)


async def test_a_delete_overtakes_a_restart(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        process.restart()
        await settle()
        await supervisor.delete(process.slug)
        await process.wait_started(1)
        assert (trio.current_time(), len(world.spawner.children)) == (10, 1)


async def test_waiting_that_is_cancelled_lets_the_restart_go_on(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        process.restart()
        with trio.move_on_after(1):
            await process.wait_started(1)
        await trio.sleep(9)
        await settle()
        assert len(world.spawner.children) == 2


async def test_what_will_never_start_again_cannot_be_restarted(autojump_clock: Clock) -> None:
    world = World(workspaces=FakeWorkspaces(procfile=None))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.NO_PROCFILE)
        with pytest.raises(WrongStateError, match="found one in the state 'no procfile'"):
            process.restart()
        process.stop()
        with pytest.raises(WrongStateError, match="'stopping'"):
            process.restart()


async def test_a_signal_goes_to_the_child(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        process.send_signal(signal.SIGHUP)
        assert world.spawner.children[0].signals == [signal.SIGHUP]
        assert process.state is State.RUNNING


async def test_a_child_that_ends_by_a_signal_is_started_again_as_always(
    autojump_clock: Clock,
) -> None:
    async with World().open() as supervisor:
        process = await running(supervisor)
        process.send_signal(signal.SIGKILL)
        await process.wait_state(State.BACKOFF)
        assert process.exit == Exit(signal=signal.SIGKILL)
        await process.wait_state(State.RUNNING)
        assert trio.current_time() == 1


async def test_without_a_child_there_is_nobody_to_take_a_signal(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        with pytest.raises(WrongStateError, match="expected a process with a child that runs"):
            process.send_signal(signal.SIGHUP)
        await process.wait_state(State.RUNNING)
        world.spawner.children[0].exit(1)
        await process.wait_state(State.BACKOFF)
        with pytest.raises(WrongStateError, match="'backoff'"):
            process.send_signal(signal.SIGHUP)

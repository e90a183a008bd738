"""What a seam does that it should not: one process suffers, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from smartmob_agent.child.seam import Command
from smartmob_agent.errors import DownloadError, SourceError, UnpackError
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.policies import StopPolicy
from smartmob_agent.process.states import State
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.process.termination import Termination
from smartmob_agent.testing import (
    FakeChild,
    FakeFetcher,
    FakeSpawner,
    FakeWorkspace,
    FakeWorkspaces,
)
from tests.process.world import World, make_spec, running

Clock = trio.testing.MockClock


class OwnDownloadError(DownloadError):
    """What an embedder's fetcher may raise."""


@pytest.mark.parametrize("error", [OwnDownloadError("no"), SourceError("no")])
async def test_an_error_of_an_embedder_counts_as_the_nearest_of_ours(
    autojump_clock: Clock, error: SourceError
) -> None:
    async with World(fetcher=FakeFetcher(errors=[error])).open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.DOWNLOAD_FAILURE)
        assert process.error == "no"


async def test_an_error_out_of_its_place_does_not_make_a_process_vanish(
    autojump_clock: Clock,
) -> None:
    """A download that cannot be unpacked: nothing says that the next one cannot, either."""

    class Spawner(FakeSpawner):
        async def spawn(self, command: Command) -> FakeChild:
            if not self.children:
                self.children.append(FakeChild(1, command))
                raise UnpackError("from a spawner")
            return await super().spawn(command)

    async with World(spawner=Spawner()).open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.BACKOFF)
        assert process.error == "internal error (UnpackError), see the agent's log"
        await process.wait_state(State.RUNNING)
        assert list(supervisor) == [process]


async def test_files_that_cannot_be_removed_keep_no_process_from_its_end(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: FakeWorkspace) -> None:
        raise OSError("broken")

    monkeypatch.setattr(FakeWorkspace, "remove", fail)
    async with World().open() as supervisor:
        first, second = [await running(supervisor, make_spec(app)) for app in "ab"]
        await supervisor.delete(first.slug)
        assert (first.state, first.console.end) == (State.GONE, ConsoleEnd.PROCESS)
        assert second.state is State.RUNNING


async def test_a_child_that_cannot_be_asked_is_killed(autojump_clock: Clock) -> None:
    """And its output is not waited for, though somebody else may hold its pipes."""
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        child = await world.spawner.next_child()
        child.closes_pipes = False
        child.terminate = lambda *_, **__: 1 / 0  # type: ignore[method-assign, assignment]
        await supervisor.delete(process.slug)
        assert child.killed.is_set()
        assert trio.current_time() == 1  # To drain the output.


async def test_a_cancellation_from_outside_is_a_stop_at_once(autojump_clock: Clock) -> None:
    """Without `close`: the state says so, and what is stuck is not waited for."""
    world, seen = World(spawner=FakeSpawner(obey=False)), []

    async def look() -> None:
        await trio.sleep(5)
        seen.append(process.state)

    async with world.open_services() as services, trio.open_nursery() as outer:
        async with trio.open_nursery() as nursery:
            process = await running(Supervisor(nursery, services))
            world.spawner.children[0].unkillable = True
            outer.start_soon(look)
            nursery.cancel_scope.cancel()
        assert (process.state, trio.current_time()) == (State.GONE, 10 + 10 + 1)
    assert (seen, process.console.end) == ([State.STOPPING], ConsoleEnd.AGENT)


async def test_patience_is_lost_for_good(autojump_clock: Clock) -> None:
    """Also for children that get stuck later, one after the other."""
    ending, told = Termination(policy=StopPolicy(), stop_timeout=0), list[int]()
    for patient in (True, False, False):
        child = FakeChild(1, Command(argv=("app",), env={}, cwd=Path("/")), obeys=False)
        child.unkillable = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ending.run, child, lambda child: told.append(child.pid))
            await trio.sleep(20)
            if patient:
                assert not child.released
                ending.wait_no_longer()
        assert trio.current_time() == 20 * (len(told))
    assert told == [1, 1, 1]


async def test_a_process_that_stops_is_not_shown_to_start(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its child ended in the moment of the stop: that is no defect, and no reason to go on."""
    world = World(workspaces=FakeWorkspaces(remove_delay=5))
    async with world.open() as supervisor:
        process = await running(supervisor)
        world.spawner.children[0].exit(1)
        process.stop()
        await trio.sleep(1)
        assert (process.state, process.next_start_at) == (State.STOPPING, None)
    assert caplog.records == []

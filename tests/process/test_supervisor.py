"""The supervisor: a registry in which listed means alive."""

from __future__ import annotations

import contextvars
import gc
import weakref
from functools import partial

import pytest
import trio
import trio.testing

from smartmob_agent.errors import ProcessNotFoundError, SlugInUseError, StoppingError
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.process.states import State
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.testing import FakeFetcher, FakeSpawner, FakeWorkspaces
from tests.process.world import World, make_spec, running, settle

Clock = trio.testing.MockClock


async def test_a_process_is_listed_until_nothing_is_left_of_it(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False), workspaces=FakeWorkspaces(remove_delay=4))
    async with world.open() as supervisor:
        process = await running(supervisor)
        process.stop()
        await trio.sleep(10 + 3.9)
        assert list(supervisor) == [process]
        await supervisor.delete(process.slug)
        assert (trio.current_time(), list(supervisor), len(supervisor)) == (14, [], 0)


async def test_processes_are_listed_in_the_order_of_creation() -> None:
    async with World().open() as supervisor:
        for app in ("b", "a", "c"):
            supervisor.create(make_spec(app))
        assert [process.spec.app for process in supervisor] == ["b", "a", "c"]


async def test_a_slug_in_use_is_refused_and_free_after_delete() -> None:
    async with World().open() as supervisor:
        first = await running(supervisor)
        with pytest.raises(SlugInUseError, match=r"'app\.web\.0'"):
            supervisor.create(make_spec())
        await supervisor.delete(first.slug)
        second = supervisor.create(make_spec())
        assert supervisor.get("app.web.0") is second


async def test_an_unknown_slug_is_told() -> None:
    async with World().open() as supervisor:
        with pytest.raises(ProcessNotFoundError, match="'nobody'"):
            supervisor.get("nobody")
        with pytest.raises(ProcessNotFoundError):
            await supervisor.delete("nobody")


async def test_two_deletes_of_one_process_both_wait_for_its_end(autojump_clock: Clock) -> None:
    world, ends = World(spawner=FakeSpawner(obey=False)), []
    async with world.open() as supervisor:
        process = await running(supervisor)

        async def delete(after: float) -> None:
            await trio.sleep(after)
            await supervisor.delete(process.slug)
            ends.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete, 0)
            nursery.start_soon(delete, 6)
    assert ends == [10, 10]


async def test_a_delete_goes_on_without_the_one_who_asked(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        with trio.move_on_after(1):
            await supervisor.delete(process.slug)
        assert process.state is State.STOPPING
        await process.wait_state(State.GONE)
        assert trio.current_time() == 10


@pytest.mark.parametrize(
    ("world", "state"),
    [
        (World(fetcher=FakeFetcher(delay=100)), State.PENDING),
        (World(fetcher=FakeFetcher(delay=100)), State.DOWNLOADING),
        (World(workspaces=FakeWorkspaces(delay=100)), State.UNPACKING),
        (World(spawner=FakeSpawner(delay=100)), State.PROCESSING),
        (World(), State.RUNNING),
        (World(fetcher=FakeFetcher(errors=[OSError("no")])), State.BACKOFF),
        (World(workspaces=FakeWorkspaces(procfile=None)), State.NO_PROCFILE),
    ],
)
async def test_delete_works_in_every_state(
    autojump_clock: Clock, world: World, state: State
) -> None:
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        if state is not State.PENDING:
            await process.wait_state(state)
        assert process.state is state
        await supervisor.delete(process.slug)
        assert (trio.current_time(), list(supervisor)) == (0, [])
        assert world.workspaces.opened[0].removed.is_set()


async def test_a_closed_supervisor_takes_no_new_process_and_ends_all(
    autojump_clock: Clock,
) -> None:
    """All at once: three children that take 10 s each take 10 s together."""
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        processes = [await running(supervisor, make_spec(app)) for app in "abc"]
        supervisor.close()
        assert supervisor.stopping
        with pytest.raises(StoppingError):
            supervisor.create(make_spec("d"))
    assert trio.current_time() == 10
    assert {process.console.end for process in processes} == {ConsoleEnd.AGENT}


async def test_cancelling_the_nursery_ends_all_children(autojump_clock: Clock) -> None:
    """An outer cancel does what close does: SIGTERM, time-out, SIGKILL, files removed."""
    world = World(spawner=FakeSpawner(obey=False))
    with trio.move_on_after(5):
        async with world.open_services() as services, trio.open_nursery() as nursery:
            supervisor = Supervisor(nursery, services)
            await running(supervisor)
            await trio.sleep_forever()
    child = world.spawner.children[0]
    assert trio.current_time() == 5 + 10
    assert child.terminated.is_set()
    assert child.killed.is_set()
    assert world.workspaces.opened[0].removed.is_set()


async def test_a_process_does_not_keep_the_context_of_its_request() -> None:
    """A task that lives for weeks must not hold on to a request, nor log with its id."""
    variable = contextvars.ContextVar[str]("variable", default="none")
    seen: list[str] = []

    class Spawner(FakeSpawner):
        async def spawn(self, command: object) -> object:  # type: ignore[override]
            seen.append(variable.get())
            return await super().spawn(command)  # type: ignore[arg-type]

    async with World(spawner=Spawner()).open() as supervisor:
        variable.set("request")
        await running(supervisor)
        assert seen == ["none"]


async def test_waiting_for_a_state_that_never_comes_ends_with_the_process() -> None:
    async with World().open() as supervisor:
        process = await running(supervisor)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(process.wait_state, State.NO_PROCFILE))
            await settle()
            process.stop()
    assert process.state is State.GONE


async def test_nothing_refers_to_processes_that_are_gone(autojump_clock: Clock) -> None:
    """Nor to their consoles and files: an agent that lives for years keeps none of them."""
    world, left = World(), list[weakref.ref[object]]()
    async with world.open() as supervisor:
        for number in range(100):
            process = await running(supervisor, make_spec(f"app{number}"))
            world.spawner.children[-1].write(b"line\n")
            left += map(weakref.ref, (process, process.console, process.files))
            await supervisor.delete(process.slug)
            del process
        await settle()
        gc.collect()
        assert [one() for one in left if one() is not None] == []


async def test_a_slug_is_app_and_node() -> None:
    spec = ProcessSpec(app="shop", node="web.1", process_type="web", source_url="http://h/a")
    assert spec.slug == "shop.web.1"

"""When a start counts as good, and what is told when it does not."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from smartmob_agent.process.policies import Readiness
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.states import State
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.testing import FakeChild, FakeNetwork, FakeSpawner
from tests.process.world import World, make_spec, settle

Clock = trio.testing.MockClock


async def start(
    world: World, supervisor: Supervisor, ready: Readiness | None, **changes: Any
) -> tuple[ManagedProcess, FakeChild]:
    process = supervisor.create(make_spec(ready=ready, **changes))
    child = await world.spawner.next_child()
    await settle()
    return process, child


async def test_a_web_process_is_ready_when_its_port_answers(autojump_clock: Clock) -> None:
    world = World(network=FakeNetwork(refuses=True))
    async with world.open() as supervisor:
        process, _ = await start(world, supervisor, None)
        await trio.sleep(2.5)
        assert not process.ready
        world.network.refuses = False
        await process.wait_ready()
        assert trio.current_time() == 3
        assert world.network.probes == [(20000, None)] * 4


@pytest.mark.parametrize("changes", [{"process_type": "worker"}, {"port": 20000}, {"port": "none"}])
async def test_others_are_ready_after_a_second(
    autojump_clock: Clock, changes: dict[str, Any]
) -> None:
    world = World()
    world.workspaces.procfile = b"web: a\nworker: b\n"
    async with world.open() as supervisor:
        process, _ = await start(world, supervisor, None, **changes)
        await process.wait_ready()
        assert (trio.current_time(), world.network.probes) == (1, [])


async def test_a_path_is_to_answer_well(autojump_clock: Clock) -> None:
    world = World(network=FakeNetwork(status=503))
    async with world.open() as supervisor:
        ready = Readiness(http="/health", interval=5, timeout=12)
        process, _ = await start(world, supervisor, ready)
        await trio.sleep(13)
        assert process.error == "not ready after 12 s: GET /health at port 20000: status 503"
        assert process.state is State.RUNNING
        world.network.status = 399
        await process.wait_ready()
        now: list[object] = [trio.current_time(), process.error]
        assert now == [15, None]
        assert world.network.probes == [(20000, "/health")] * 4


async def test_a_line_of_the_output_is_looked_for(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        ready = Readiness(log="^listening on [0-9]+$", timeout=1)
        process, child = await start(world, supervisor, ready)
        child.write(b"not listening on 80\n" * 300)
        await trio.sleep(2)
        assert process.error == (
            "not ready after 1 s: no line of its output has a match of '^listening on [0-9]+$'"
        )
        child.write_error(b"listening on 80\r\n")
        await settle()
        assert process.ready


async def test_output_that_is_gone_already_is_passed_over(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process, child = await start(world, supervisor, Readiness(log="up"))
        for _ in range(3):
            child.write(b"x" * 60_000 + b"\n")
            process.console.items.clear()
        child.write(b"up\n")
        await process.wait_ready()
        assert process.ready


async def test_an_old_line_does_not_count_for_a_new_child(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process, child = await start(world, supervisor, Readiness(log="up"))
        child.write(b"up\n")
        await process.wait_ready()
        child.exit()
        await world.spawner.next_child()
        await trio.sleep(100)
        assert not process.ready


async def test_a_pattern_that_takes_too_long_is_told(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        ready = Readiness(log="(a|aa)+$", timeout=1)
        process, child = await start(world, supervisor, ready)
        child.write(b"a" * 200 + b"b\n")
        await trio.sleep(2)
        assert process.error == (
            "not ready after 1 s: the regular expression takes too long for one line of the output"
        )


async def test_a_child_may_say_so_itself(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process, child = await start(world, supervisor, Readiness(notify=True, timeout=5))
        [notifications] = world.network.notifications
        assert child.command.env["NOTIFY_SOCKET"] == notifications.address
        await trio.sleep(6)
        assert process.error == "not ready after 5 s: it has not said READY=1 at NOTIFY_SOCKET"
        notifications.say_ready()
        await process.wait_ready()
        child.exit()
        await world.spawner.next_child()
        assert [one.closed for one in world.network.notifications] == [True, False]
    assert all(one.closed for one in world.network.notifications)


async def test_without_a_port_nothing_answers(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process, _ = await start(world, supervisor, Readiness(port=True), port="none")
        await trio.sleep(61)
        assert str(process.error).startswith("not ready after 60 s: it has no port")


async def test_a_port_of_its_own_is_probed(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process, _ = await start(
            world, supervisor, Readiness(http="/"), env={"PORT": "8000"}, port="none"
        )
        assert process.ready
        assert world.network.probes == [(8000, "/")]


async def test_probes_come_one_after_the_other_and_end_with_the_child(
    autojump_clock: Clock,
) -> None:
    """Also one that hangs."""
    world = World(network=FakeNetwork(delay=1000))
    async with world.open() as supervisor:
        process, child = await start(world, supervisor, Readiness(port=True, timeout=7))
        for _ in range(8):
            assert world.network.under_way <= 1
            await trio.sleep(1)
        assert process.error == "not ready after 7 s: port 20000: no answer in 5 s"
        assert world.network.under_way == 1
        child.exit()
        await settle()
        assert world.network.under_way == 0


async def test_starts_that_came_to_nothing_are_counted(autojump_clock: Clock) -> None:
    world = World(network=FakeNetwork(refuses=True), spawner=FakeSpawner())
    async with world.open() as supervisor:
        process, child = await start(world, supervisor, None)
        child.exit(1)
        child = await world.spawner.next_child()
        assert process.failures == 1
        world.network.refuses = False
        child.exit(1)
        await process.wait_ready()
        assert process.failures == 0


@pytest.mark.parametrize("end", ["restart", "stop"])
async def test_a_child_that_is_to_end_is_not_ready(autojump_clock: Clock, end: str) -> None:
    """And is not so again while it ends."""
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process, _ = await start(world, supervisor, None)
        assert process.ready
        getattr(process, end)()
        await trio.sleep(5)
        assert (process.ready, process.failures) == (False, 0)


async def test_a_late_answer_makes_nothing_ready(autojump_clock: Clock) -> None:
    world = World(network=FakeNetwork(delay=3), spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process, _ = await start(world, supervisor, None)
        await trio.sleep(1)
        process.restart()
        await trio.sleep(5)
        assert not process.ready


async def test_a_fault_of_the_probe_leaves_the_child_alone(autojump_clock: Clock) -> None:
    class Broken(FakeNetwork):
        async def connect(self, port: int) -> None:
            raise ZeroDivisionError(port)

    world = World(network=Broken())
    async with world.open() as supervisor:
        process, _ = await start(world, supervisor, None)
        await trio.sleep(100)
        assert (process.state, process.ready, process.starts) == (State.RUNNING, False, 1)


async def test_who_waits_for_it_is_told_that_it_never_comes(autojump_clock: Clock) -> None:
    world = World()
    world.workspaces.procfile = None
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        assert not await process.wait_ready()
        assert process.state is State.NO_PROCFILE


async def test_news_that_comes_too_late_changes_nothing(autojump_clock: Clock) -> None:
    """Both may come in the very moment in which the child ends."""
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process, _ = await start(world, supervisor, None)
        process.stop()
        process.current._become_ready()
        process.current._report_late("late")
        assert (process.ready, process.error) == (False, None)

"""Processes that are not always started again, commands in place of a type, ways to stop."""

from __future__ import annotations

import signal

import pytest
import trio
import trio.testing

from smartmob_agent.child.seam import Exit, ResourceLimits
from smartmob_agent.errors import BadRequestError, SpawnError
from smartmob_agent.process.policies import RestartPolicy, StopPolicy
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeSpawner
from tests.process.world import World, make_spec, running, settle

Clock = trio.testing.MockClock


@pytest.mark.parametrize(
    ("policy", "how", "state"),
    [
        (RestartPolicy.NEVER, Exit(code=0), State.FINISHED),
        (RestartPolicy.NEVER, Exit(code=3), State.FINISHED),
        (RestartPolicy.NEVER, Exit(signal=signal.SIGSEGV), State.FINISHED),
        (RestartPolicy.ON_FAILURE, Exit(code=0), State.FINISHED),
        (RestartPolicy.ON_FAILURE, Exit(code=1), State.BACKOFF),
        (RestartPolicy.ON_FAILURE, Exit(signal=signal.SIGTERM), State.BACKOFF),
        (RestartPolicy.ALWAYS, Exit(code=0), State.BACKOFF),
    ],
)
async def test_what_follows_the_end_of_a_child(
    autojump_clock: Clock, policy: RestartPolicy, how: Exit, state: State
) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor, make_spec(restart=policy))
        child = world.spawner.children[0]
        child.exit(how.code) if how.code is not None else child.die(signal.Signals(how.signal or 0))
        await settle()
        assert (process.state, process.exit, process.pid) == (state, how, None)
        await trio.sleep(1000)
        assert (process.starts > 1) == (state is State.BACKOFF)


async def test_it_has_finished_when_its_last_line_is_there(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor, make_spec(restart=RestartPolicy.NEVER))
        child = world.spawner.children[0]
        child.closes_pipes = False
        child.exit()
        await settle()
        assert process.state is State.RUNNING, "its output is not read to the end"
        child.write(b"last")
        await process.wait_state(State.FINISHED)
        assert [item.lines for item in process.console.items if hasattr(item, "lines")] == [
            [b"last"]
        ]


async def test_what_has_finished_can_be_started_again(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor, make_spec(restart=RestartPolicy.NEVER))
        world.spawner.children[0].exit()
        await process.wait_state(State.FINISHED)
        process.restart()
        await process.wait_started(1)
        assert (process.state, process.starts) == (State.RUNNING, 2)
        world.spawner.children[1].exit(1)
        await process.wait_state(State.FINISHED)
        await supervisor.delete(process.slug)


async def test_a_restart_at_the_very_end_counts(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor, make_spec(restart=RestartPolicy.NEVER))
        child = world.spawner.children[0]
        child.closes_pipes = False
        child.exit()
        await settle()
        process.restart()
        await process.wait_started(1)
        assert process.starts == 2


async def test_what_has_not_run_is_tried_again(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(errors=[SpawnError("no memory")]))
    async with world.open() as supervisor:
        process = await running(supervisor, make_spec(restart=RestartPolicy.NEVER))
        assert (trio.current_time(), process.starts) == (1, 1)


async def test_a_command_needs_no_procfile() -> None:
    world = World()
    world.workspaces.procfile = None
    async with world.open() as supervisor:
        spec = make_spec(process_type=None, command="migrate --all", root="backend")
        await supervisor.create(spec).wait_state(State.RUNNING)
        command = world.spawner.children[0].command
        assert command.argv == ("/bin/sh", "-c", "exec migrate --all")
        assert command.cwd == world.workspaces.opened[0].directory / "app/backend"


@pytest.mark.parametrize("to", ["group", "app"])
async def test_it_is_stopped_as_it_wants(autojump_clock: Clock, to: str) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        stop = StopPolicy(signal=signal.SIGINT, timeout=3, to=to)  # type: ignore[arg-type]
        process = await running(supervisor, make_spec(stop=stop))
        await supervisor.delete(process.slug)
        [child] = world.spawner.children
        assert (child.asked_by, child.is_asked_alone) == (signal.SIGINT, to == "app")
        assert child.killed.is_set()
        assert trio.current_time() == 3


async def test_limits_go_to_the_child() -> None:
    limits = ResourceLimits(memory_bytes=2**20, tasks=3, open_files=64)
    world = World()
    async with world.open() as supervisor:
        await running(supervisor, make_spec(limits=limits))
        assert world.spawner.children[0].command.limits == limits


async def test_a_limit_that_nobody_sees_to_is_refused() -> None:
    world = World(spawner=FakeSpawner(unlimited={"cpu_weight"}))
    async with world.open() as supervisor:
        with pytest.raises(BadRequestError) as caught:
            supervisor.create(make_spec(limits=ResourceLimits(cpu_weight=5, tasks=3)))
        [error] = caught.value.errors
        assert error.startswith("expected no cpu_weight: it takes a delegated cgroup v2")
        assert error.endswith("@ $.limits.cpu_weight")
        assert list(supervisor) == []

"""Scenarios of a whole agent with clients: all of them get an answer, a close or an error."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import trio

from smartmob_agent.config.settings import AgentConfig, Cache
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeFetcher, FakeSpawner, Scenario, Trial
from tests.determinism.memory_agent import (
    Stage,
    ask,
    check_consistent,
    check_ended,
    check_nothing_left,
    follow,
    open_stage,
    run_agent,
)
from tests.http.memory import Client
from tests.process.world import World, make_spec, running, settle

CREATE = json.dumps(
    {
        "app": "app",
        "node": "web.0",
        "process_type": "web",
        "source_url": "http://127.0.0.1/app.zip",
    }
).encode()
DELETE = "/delete-process/app.web.0"
STOP = AgentConfig().stop_timeout


async def create_and_delete(trial: Trial) -> None:
    """A client that goes leaves a whole process or none; what it asked for is done all the same."""
    world = World(fetcher=FakeFetcher(delay=1), spawner=FakeSpawner(obey=False))
    statuses = []
    async with open_stage(world) as stage:
        with trial.subject():
            statuses.append(await ask(stage.connect(), "POST", "/create-process", CREATE))
            [process] = stage.supervisor
            await process.wait_state(State.RUNNING)
            statuses.append(await ask(stage.connect(), "POST", DELETE))
        assert statuses == [201, 200] or (trial.cancelled and statuses in ([], [201]))
        processes = list(stage.supervisor)
        await trio.sleep(1)
        await settle()
        assert all(process.starts == 1 for process in processes)
        check_consistent(world, stage.supervisor)
    check_nothing_left(world)
    check_ended(*processes)
    if trial.cancelled_at is None:
        assert trio.current_time() == 1 + STOP + 1
    elif processes and processes[0].console.end is ConsoleEnd.AGENT:
        assert trio.current_time() == trial.cancelled_at + 1 + STOP


async def delete_twice(trial: Trial) -> None:
    """Of two clients who wait one goes; the other one gets its answer in time."""
    world, statuses = World(spawner=FakeSpawner(obey=False)), []
    async with open_stage(world) as stage:
        process = await running(stage.supervisor)

        async def stay() -> None:
            await trio.sleep(3)
            statuses.append(await ask(stage.connect(), "POST", DELETE))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay)
            with trial.subject():
                statuses.append(await ask(stage.connect(), "POST", DELETE))
        assert set(statuses) == {200}
        assert len(statuses) == 2 or trial.cancelled
        assert trio.current_time() in {STOP, STOP + 3 if trial.cancelled_at == 0 else STOP}
        assert list(stage.supervisor) == []
    check_nothing_left(world)
    check_ended(process, end=ConsoleEnd.PROCESS)


async def upload(trial: Trial) -> None:
    """An archive of a client that goes is not kept for longer than any other."""
    world = World(config=AgentConfig(cache=Cache(upload_timeout=100)))
    async with open_stage(world) as stage:
        status = 0
        with trial.subject():
            status = await ask(stage.connect(), "PUT", "/upload-source", b"PK\3\4")
        assert (status, trio.current_time()) == (0 if trial.cancelled else 201, 0)
        await trio.sleep(101)
        assert world.workspaces.cache.archives == {}
    check_nothing_left(world)
    assert trio.current_time() == 101


async def embedded(trial: Trial) -> None:
    """A program ends, wherever it is: its children are gone, and its clients have been told."""
    world = World(spawner=FakeSpawner(obey=False), fetcher=FakeFetcher(delay=1))
    ends: list[int | None] = []
    processes = []

    async def program(outer: trio.Nursery) -> None:
        async with trio.open_nursery() as nursery:
            stage: Stage = await nursery.start(partial(run_agent, world))
            await trio.lowlevel.checkpoint()  # Else a closed agent may be the first to tell.
            processes.append(stage.supervisor.create(make_spec()))
            outer.start_soon(talk, partial(follow_to_end, stage.connect()))
            await processes[0].wait_state(State.RUNNING)
            outer.start_soon(talk, partial(ask, stage.connect(), "POST", DELETE))
            await trio.sleep(4)
            world.spawner.children[0].write(b"bye\n")
            await trio.sleep(2)
            stage.agent.stop()

    async def follow_to_end(client: Client) -> int | None:
        _, code = await follow(client)
        return code

    async def talk(conversation: Callable[[], Awaitable[int | None]]) -> None:
        ends.append(await conversation())

    async with trio.open_nursery() as outer:
        with trial.subject():
            await program(outer)
        check_nothing_left(world)
        check_ended(*processes)
        at, end = trial.cancelled_at, trio.current_time()
    assert trio.current_time() == end, "nobody waits for a client that has been told"
    # A child that runs is asked to end when the program ends, or at 1, when a client wants that.
    assert end == (at if at is not None and not world.spawner.children else 1 + STOP)
    if trial.cancelled:
        assert set(ends) <= {1000, 1001, 200, 404, 503}
    else:
        assert sorted(map(str, ends)) == ["1000", "200"]


async def late_client(trial: Trial) -> None:
    """Whoever ends the agent: while its processes end, it still answers, and takes no more."""
    world, statuses = World(spawner=FakeSpawner(obey=False)), []
    processes = []

    async def program(outer: trio.Nursery) -> None:
        async with trio.open_nursery() as nursery:
            stage: Stage = await nursery.start(partial(run_agent, world))
            await trio.lowlevel.checkpoint()
            processes.append(stage.supervisor.create(make_spec("first")))
            outer.start_soon(knock, stage)
            await trio.sleep(5)
            stage.agent.stop()

    async def knock(stage: Stage) -> None:
        await trio.sleep(6)
        if not processes[0].console.ended:
            statuses.append(await ask(stage.connect(), "POST", "/create-process", CREATE))

    async with trio.open_nursery() as outer:
        with trial.subject():
            await program(outer)
        check_nothing_left(world)
        check_ended(*processes, end=ConsoleEnd.AGENT)
    assert statuses == ([503] if world.spawner.children else [])


CLIENTS: Mapping[str, Scenario] = {
    "create and delete": create_and_delete,
    "two deletes": delete_twice,
    "upload by HTTP": upload,
    "late client": late_client,
    "embedded": embedded,
}

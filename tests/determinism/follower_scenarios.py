"""Scenarios of clients that follow the console of a process."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial

import trio

from smartmob_agent.config.settings import HttpLimits
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.testing import Scenario, Trial
from tests.determinism.memory_agent import (
    Stage,
    attach_request,
    check_ended,
    check_nothing_left,
    follow,
    open_stage,
    run_agent,
)
from tests.http.memory import Client
from tests.process.world import World, running, settle

HTTP = HttpLimits()


async def attach(trial: Trial) -> None:
    """Whoever follows can go at any time, and costs nothing any more; the others stay."""
    world = World()
    async with open_stage(world) as stage:
        process = await running(stage.supervisor)
        child = await world.spawner.next_child()
        ends: list[tuple[list[str], int | None]] = []

        async def stay() -> None:
            ends.append(await follow(stage.connect()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay)
            await settle()
            with trial.subject():
                async with trio.open_nursery() as talk:
                    talk.start_soon(follow, stage.connect())
                    await trio.sleep(1)
                    child.write(b"line\n")
                    await trio.sleep(1)
                    talk.cancel_scope.cancel()
            await stage.check_tasks(connections=1)
            assert len(process.console.readers) == 1
            child.write(b"last\n")
            await settle()
            stage.agent.stop()
        [(lines, code)] = ends
        assert (lines[-1], code) == ("last", 1001)
    assert trio.current_time() == (2 if trial.cancelled_at is None else trial.cancelled_at)
    check_nothing_left(world)
    check_ended(process, end=ConsoleEnd.AGENT)


async def slow_attach(trial: Trial) -> None:
    """A client that reads nothing holds up the end for as long as is stated, and no longer."""
    world = World()
    stuck, over = trio.Event(), trio.Event()
    processes, fates = [], list[bytes]()

    async def read_nothing(client: Client) -> None:
        async with client.stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await client.send(attach_request("app.web.0"))
                await client.stream.receive_some(65536)
                stuck.set()
            await over.wait()
            fates.append(await client.rest())

    async def program(outer: trio.Nursery) -> None:
        async with trio.open_nursery() as nursery:
            stage: Stage = await nursery.start(partial(run_agent, world))
            await trio.lowlevel.checkpoint()
            processes.append(await running(stage.supervisor))
            outer.start_soon(read_nothing, stage.connect(lockstep=True))
            await stuck.wait()
            world.spawner.children[0].write(b"line\n")
            await trio.sleep(5)
            stage.agent.stop()

    async with trio.open_nursery() as outer:
        with trial.subject():
            await program(outer)
        check_nothing_left(world)
        check_ended(*processes)
        end, stopped = trio.current_time(), 5 if trial.cancelled_at is None else trial.cancelled_at
        assert end == min(stopped, 5) + (HTTP.graceful_timeout if stuck.is_set() else 0)
        over.set()
    # What it did not read, it gets nothing behind: it is cut, and not told a second time.
    line, told = b"\x81\x04line", b"\x88\x11\x03\xe9the agent stops"
    if stuck.is_set():
        assert fates == [line] or (trial.cancelled_at == 0 and fates == [told])
    else:
        assert trial.cancelled_at == 0
        assert set(fates) <= {b""}


FOLLOWERS: Mapping[str, Scenario] = {
    "attach": attach,
    "slow attach": slow_attach,
}

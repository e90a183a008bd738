"""Scenarios of clients who restart, send signals and read events."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise

import trio

from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeSpawner, Scenario, Trial
from tests.determinism.memory_agent import (
    HOST,
    ask,
    check_consistent,
    check_ended,
    check_nothing_left,
    open_stage,
)
from tests.http.memory import Client
from tests.process.world import EPOCH, World, running, settle

STOP = AgentConfig().stop_timeout
RESTART = "/restart-process/app.web.0?wait=1"


async def restart(trial: Trial) -> None:
    """Of two clients who wait for a new child one goes; the other gets its answer in time."""
    world, statuses = World(spawner=FakeSpawner(obey=False)), []
    async with open_stage(world) as stage:
        process = await running(stage.supervisor)

        async def stay() -> None:
            await trio.sleep(3)
            statuses.append(await ask(stage.connect(), "POST", RESTART))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay)
            with trial.subject():
                statuses.append(await ask(stage.connect(), "POST", RESTART))
        assert statuses == ([200] if trial.cancelled and len(statuses) == 1 else [200, 200])
        # Who went before the agent had read the request has asked for nothing.
        assert trio.current_time() in {STOP, STOP + 3 if trial.cancelled_at == 0 else STOP}
        assert (process.state, process.starts) == (State.RUNNING, 2)
        check_consistent(world, stage.supervisor)
    check_nothing_left(world)
    check_ended(process, end=ConsoleEnd.AGENT)


async def send_signal(trial: Trial) -> None:
    """A client that goes has sent its signal or has not; a child that ends by it comes again."""
    world, statuses = World(), []
    async with open_stage(world) as stage:
        process = await running(stage.supervisor)
        first = world.spawner.children[0]
        with trial.subject():
            for name in ("HUP", "KILL"):
                body = json.dumps({"signal": name}).encode()
                statuses.append(
                    await ask(stage.connect(), "POST", "/signal-process/app.web.0", body)
                )
            await process.wait_started(1)
        assert trial.cancelled or statuses == [200, 200]
        await trio.sleep(5)
        sent = [signal.SIGHUP, signal.SIGKILL][: len(first.signals)]
        assert first.signals == sent
        assert len(statuses) <= len(sent)
        started = (1, EPOCH) if len(sent) < 2 else (2, EPOCH + timedelta(seconds=1))
        assert (process.starts, process.started_at) == started
        check_consistent(world, stage.supervisor)
    check_nothing_left(world)
    check_ended(process, end=ConsoleEnd.AGENT)


async def read_events(client: Client) -> list[str]:
    """Read the stream of events to its end; return what each event says."""
    async with client.stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await client.send(f"GET /events HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        head, body = await client.response()
    assert head.status_code == 200
    found = []
    for message in body.decode().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in message.splitlines())
        if "data" in fields:
            data = json.loads(fields["data"])
            found.append(data.get("state") or fields["event"])
    return found


async def events(trial: Trial) -> None:
    """Whoever reads events can go at any time, and costs nothing any more; the others miss none."""
    world, seen = World(), []
    async with open_stage(world) as stage:

        async def stay() -> None:
            seen.extend(await read_events(stage.connect()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay)
            await settle()
            process = await running(stage.supervisor)
            with trial.subject():
                async with trio.open_nursery() as talk:
                    talk.start_soon(read_events, stage.connect())
                    await trio.sleep(1)
                    process.restart()
                    await process.wait_started(1)
                    talk.cancel_scope.cancel()
            await stage.check_tasks(connections=1)
            assert len(stage.supervisor.events.readers) == 1
            stage.agent.stop()
    begun = ["snapshot", "pending", "downloading", "unpacking", "processing", "running"]
    # When its child is ready, and when it is no more so since it is to end.
    readiness = [one for one in seen if one == "running"]
    told = [one for one, before in pairwise([*seen, ""]) if one != before]
    again = ["backoff", "running"] if process.starts == 2 else []
    assert told == [*begun, *again, "stopping", "gone", "end"]
    assert len(readiness) <= 2 * process.starts + 1
    assert trio.current_time() == (1 if trial.cancelled_at is None else trial.cancelled_at)
    check_nothing_left(world)
    check_ended(process, end=ConsoleEnd.AGENT)


CONTROLS: Mapping[str, Scenario] = {
    "restart by HTTP": restart,
    "signal by HTTP": send_signal,
    "events": events,
}

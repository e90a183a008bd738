"""Restart and signals over HTTP."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import trio
import trio.testing

from smartmob_agent.api.kinds import SIGNALS
from smartmob_agent.errors import SpawnError
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeSpawner, FakeWorkspaces
from tests.api.asgi import open_site
from tests.api.test_app import check_problem
from tests.process.world import World, running, settle

Clock = trio.testing.MockClock
RESTART = "/restart-process/app.web.0"
SIGNAL = "/signal-process/app.web.0"


async def test_a_restart_is_accepted_at_once(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with open_site(world) as site:
        await running(site.supervisor)
        answer = await site.client.post(RESTART)
        assert (answer.status_code, answer.json()["state"]) == (202, "running")
        assert trio.current_time() == 0
        await site.supervisor.get("app.web.0").wait_started(1)
        assert trio.current_time() == 10


async def test_a_restart_can_be_waited_for(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with open_site(world) as site:
        await running(site.supervisor)
        answer = await site.client.post(f"{RESTART}?wait=1", content=b"{}")
        status = answer.json()
        assert (answer.status_code, trio.current_time()) == (200, 10)
        assert (status["state"], status["pid"], status["restarts"]) == ("running", 1001, 1)


async def test_who_waits_learns_that_it_failed(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        await running(site.supervisor)
        world.spawner.errors.append(SpawnError("no room"))
        status = (await site.client.post(f"{RESTART}?wait=1")).json()
        assert (status["state"], status["error"]) == ("backoff", "no room")


async def test_a_restart_goes_on_without_who_asked(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with open_site(world) as site:
        await running(site.supervisor)
        with trio.move_on_after(1):
            await site.client.post(f"{RESTART}?wait=1")
        await site.supervisor.get("app.web.0").wait_started(1)
        await settle()
        assert (trio.current_time(), len(world.spawner.children)) == (10, 2)


@pytest.mark.parametrize("name", ["HUP", "SIGHUP"])
async def test_a_signal_is_sent(name: str) -> None:
    world = World()
    async with open_site(world) as site:
        await running(site.supervisor)
        answer = await site.client.post(SIGNAL, json={"signal": name})
        assert (answer.status_code, answer.json()) == (200, {})
        assert world.spawner.children[0].signals == [signal.SIGHUP]


def test_each_name_is_one_of_this_machine() -> None:
    assert [name for name in SIGNALS if f"SIG{name}" not in signal.Signals.__members__] == []


@pytest.mark.parametrize(
    ("document", "errors"),
    [
        ({}, ["required field missing @ $.signal"]),
        ({"signal": 1}, ["expected a string, found a number @ $.signal"]),
        ({"signal": "1"}, ["expected the name of a signal, such as HUP or SIGHUP @ $.signal"]),
        ({"signal": "hup"}, ["expected the name of a signal, such as HUP or SIGHUP @ $.signal"]),
        ({"signal": "HUP", "pid": 1}, ["unknown field @ $.pid"]),
    ],
)
async def test_only_names_are_taken(document: Any, errors: list[str]) -> None:
    async with open_site() as site:
        answer = await site.client.post("/signal-process/nobody", json=document)
        problem = check_problem(answer, 400)
        assert (problem["detail"], problem["errors"]) == (
            "the signal request is not valid",
            errors,
        )


@pytest.mark.parametrize("path", ["/restart-process/nobody", "/signal-process/nobody"])
async def test_an_unknown_process_is_a_404(path: str) -> None:
    async with open_site() as site:
        body = {"signal": "HUP"} if "signal" in path else {}
        check_problem(await site.client.post(path, json=body), 404)


async def test_the_wrong_state_is_a_conflict(autojump_clock: Clock) -> None:
    world = World(workspaces=FakeWorkspaces(procfile=None))
    async with open_site(world) as site:
        await site.create()
        await site.supervisor.get("app.web.0").wait_state(State.NO_PROCFILE)
        problem = check_problem(await site.client.post(RESTART), 409)
        assert problem["detail"] == (
            "expected a process that can be started again, found one in the state 'no procfile'"
        )
        check_problem(await site.client.post(SIGNAL, json={"signal": "HUP"}), 409)


@pytest.mark.parametrize("ask", [f"{RESTART}?wait=yes", f"{RESTART}?now=1"])
async def test_a_wrong_option_is_told(ask: str) -> None:
    async with open_site() as site:
        check_problem(await site.client.post(ask), 400)


async def test_a_restart_takes_no_body() -> None:
    async with open_site() as site:
        check_problem(await site.client.post(RESTART, json={"now": True}), 400)

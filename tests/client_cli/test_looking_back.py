"""`smartmob logs` with times and patterns, several at once, and `smartmob why`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import trio

from smartmob_agent import AgentConfig
from smartmob_agent.client import open_client
from smartmob_agent.client_cli.cli import main
from smartmob_agent.client_cli.commands.logs import show_logs
from smartmob_agent.client_cli.commands.why import _tell_why
from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.settings import Settings
from smartmob_agent.testing import FakeChild
from tests.client.agent import CREATE, World, open_world

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


async def start(world: World, node: str) -> FakeChild:
    """Start a process that is not ready for long."""
    async with open_client(world.url) as client:
        await client.create(**{**CREATE, "node": node, "ready": {"after": 1000}})
    return await world.spawner.next_child()


async def say(world: World, node: str, child: FakeChild, line: bytes) -> None:
    """Write a line that is then there."""
    console = world.agent.supervisor.get(f"hello.{node}").console
    cursor = console.subscribe()
    child.write(line)
    await cursor.receive()


def options(**changes: Any) -> dict[str, Any]:
    return {"follow": False, "tail": None, "as_json": False, **changes}


async def test_several_logs_are_one_in_the_order_of_time(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    async with open_world() as world:
        children = {node: await start(world, node) for node in ("web.0", "web.1")}
        for number in range(6):
            node = f"web.{number % 2}"
            await say(world, node, children[node], b"line %d\n" % number)
        agents = [Settings(name="a", url=world.url)]
        slugs = ["hello.web.0", "hello.web.1"]
        assert await show_logs(agents, slugs, **options()) == 0
        plain = capfdbinary.readouterr().out.decode().splitlines()
        assert await show_logs(agents, slugs, **options(times=True, grep="[2-9]$")) == 0
        timed = capfdbinary.readouterr().out.decode().splitlines()
        assert await show_logs(agents, slugs, **options(as_json=True, since="1h")) == 0
        records = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
        assert await show_logs(agents, [*slugs, "none.web.0"], **options()) == 4
        assert b"no process has the slug 'none.web.0'" in capfdbinary.readouterr().err
    # Lines of the same millisecond are in the order of their logs.
    assert sorted(line[-1] for line in plain) == list("012345")
    assert [line for line in plain if ".0" in line] == [
        f"hello.web.0 | line {number}" for number in (0, 2, 4)
    ]
    assert all(re.fullmatch(rf"hello\.web\.\d \| {TIME} line \d", line) for line in timed)
    assert sorted(line[-1] for line in timed) == list("2345")
    assert [record["time"] for record in records] == sorted(record["time"] for record in records)
    assert {record["source"] for record in records} == set(slugs)


async def test_a_single_log_is_looked_through(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    config = AgentConfig(port=0, stop_timeout=0, state_dir=tmp_path / "state")
    async with open_world(config) as world:
        child = await start(world, "web.0")
        for number in range(20):
            await say(world, "web.0", child, b"line %d\n" % number)
        agents = [Settings(name="a", url=world.url)]
        await show_logs(agents, ["hello.web.0"], **options(grep="5$", until="0s"))
        assert capfdbinary.readouterr().out == b"line 5\nline 15\n"


@pytest.mark.parametrize("as_json", [False, True])
async def test_why_tells_facts_and_the_last_lines(
    as_json: bool, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    async with open_world() as world:
        agent = Settings(name="a", url=world.url)
        child = await start(world, "web.0")
        await say(world, "web.0", child, b"not \x1b[31mready\n")
        assert await _tell_why(agent, "hello.web.0", as_json=as_json) == 0
        told = capfdbinary.readouterr().out.decode()
        child.exit(code=3)
        await world.spawner.next_child()
        assert await _tell_why(agent, "hello.web.0", as_json=as_json) == 0
        crashed = capfdbinary.readouterr().out.decode()
        with pytest.raises(CommandError) as caught:
            await _tell_why(agent, "none.web.0", as_json=as_json)
        assert caught.value.code == 4
    if as_json:
        assert json.loads(told)["status"]["state"] == "running"
        told, crashed = json.loads(told)["why"], json.loads(crashed)["why"]
        assert told.endswith("    not \x1b[31mready\n")
    else:
        assert "\x1b" not in told
    assert "It is not ready" in told
    assert "exit code 3" in crashed
    assert "Its last lines before that were:" in crashed


async def test_the_command_tells_why(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    async with open_world() as world:
        await start(world, "web.0")
        argv = ["why", "--agent", world.url, "hello.web.0"]
        assert await trio.to_thread.run_sync(main, argv) == 0
        assert b"hello.web.0" in capfdbinary.readouterr().out
        argv = ["why", "--agent", world.url, "nobody.web.0"]
        assert await trio.to_thread.run_sync(main, argv) == 4

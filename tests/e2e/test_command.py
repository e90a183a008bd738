"""The command: options, the end by signals, exit codes, what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import httpx
import pytest
import trio

from tests.e2e.agent import (
    RunningAgent,
    alive,
    archive_server,
    read_to_end,
    run_to_end,
    running_agent,
    shell_app,
)

pytestmark = [pytest.mark.slow, pytest.mark.measures_children]

TICKS = shell_app("trap 'echo got TERM; exit 0' TERM\necho ready\nsleep 1000 & wait\n")
DEAF = shell_app("trap '' TERM INT HUP\nwhile :; do echo deaf; sleep 0.05; done\n")


async def first_line(agent: RunningAgent, slug: str) -> str:
    async with agent.attach(slug) as socket:
        return str(await socket.get_message())


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_all_children_and_exits_0(by: signal.Signals) -> None:
    async with archive_server() as server, running_agent() as agent:
        url = server.add("app.tgz", TICKS)
        pids = []
        for app in ("one", "two"):
            await agent.create(url, app)
            pids.append((await agent.wait_state(f"{app}.web.0", "running"))["pid"])
        assert await agent.stop(by) == 0
        assert [alive(pid) for pid in pids] == [False, False]
        gone = [event["slug"] for event in agent.events if event.get("state") == "gone"]
        assert sorted(gone) == ["one.web.0", "two.web.0"]


async def test_clients_see_the_last_words_and_then_the_end_of_the_agent() -> None:
    async with archive_server() as server, running_agent() as agent:
        await agent.create(server.add("app.tgz", TICKS))
        async with agent.attach("app.web.0", "?tail=9") as socket:
            assert await socket.get_message() == "ready"
            agent.process.send_signal(signal.SIGTERM)
            assert await socket.get_message() == "got TERM"
            assert await read_to_end(socket) == ([], 1001)
        assert await agent.process.wait() == 0


async def test_a_second_signal_kills_at_once_and_exits_1() -> None:
    async with archive_server() as server, running_agent("--stop-timeout=3600") as agent:
        await agent.create(server.add("app.tgz", DEAF))
        pid = (await agent.wait_state("app.web.0", "running"))["pid"]
        assert await first_line(agent, "app.web.0") == "deaf"
        agent.process.send_signal(signal.SIGINT)
        await agent.wait_event(event="state", state="stopping")
        assert await agent.kill(signal.SIGINT) == 1
        assert not alive(pid)


async def test_while_it_stops_it_takes_no_new_process() -> None:
    async with archive_server() as server, running_agent("--stop-timeout=3600") as agent:
        url = server.add("app.tgz", DEAF)
        await agent.create(url)
        await agent.wait_state("app.web.0", "running")
        agent.process.send_signal(signal.SIGTERM)
        await agent.wait_event(event="state", state="stopping")
        answer = await agent.client.post(
            "/create-process",
            json={"app": "b", "node": "0", "process_type": "web", "source_url": url},
        )
        assert answer.status_code == 503
        assert (await agent.status("app.web.0"))["state"] == "stopping"
        assert await agent.kill(signal.SIGTERM) == 1


async def test_a_taken_port_is_one_line_and_exit_1() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = await run_to_end("--port", str(port))
    [line] = result.stderr.decode().splitlines()
    assert result.returncode == 1
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line
    assert result.stdout == b""


async def test_a_bad_option_shows_the_usage_and_exits_2() -> None:
    result = await run_to_end("--port", "many")
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.startswith(b"Usage: smartmob-agent ")


@pytest.mark.parametrize("flag", ["--version", "--help"])
async def test_help_and_version_exit_0(flag: str) -> None:
    result = await run_to_end(flag)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"smartmob-agent" in result.stdout


async def test_options_come_from_the_environment_too(tmp_path: Path) -> None:
    async with running_agent(env={"SMARTMOB_WORK_DIR": str(tmp_path / "work")}):
        assert len(list((tmp_path / "work").iterdir())) == 1


async def test_it_also_serves_on_a_unix_socket_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    async with running_agent("--unix", str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            assert (await client.get("/")).status_code == 200
    assert not path.exists()


async def test_the_work_dir_is_empty_in_the_end(tmp_path: Path) -> None:
    work = tmp_path / "work"
    async with archive_server() as server, running_agent("--work-dir", str(work)) as agent:
        await agent.create(server.add("app.tgz", TICKS))
        await agent.wait_state("app.web.0", "running")
        assert len(list(work.rglob("Procfile"))) == 1
    assert list(work.iterdir()) == []


async def test_sigkill_of_the_agent_leaves_no_child() -> None:
    async with archive_server() as server:
        async with running_agent() as agent:
            script = "setsid sleep 1000 & echo $!; exec sleep 1000"
            await agent.create(server.add("app.tgz", shell_app(script)))
            pid = (await agent.wait_state("app.web.0", "running"))["pid"]
            pidfd = os.pidfd_open(pid)
            assert await agent.stop(signal.SIGKILL) == -signal.SIGKILL
            await trio.lowlevel.wait_readable(pidfd)
            os.close(pidfd)
        assert not alive(pid)

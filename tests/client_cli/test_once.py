"""Commands that run once: their output, their exit code, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio

from smartmob_agent import AgentConfig, OutputLimits, SpawnError
from smartmob_agent.client.documents import Exit, Process, parse_process
from smartmob_agent.client_cli.once import exit_code_of
from smartmob_agent.testing import FakeChild
from tests.client.test_documents import STATUS
from tests.client_cli.test_cli import RARELY, Shell, environ, open_shell
from tests.e2e.agent import running_agent

__all__ = ["environ"]  # A fixture, for all tests here.

URL = "http://127.0.0.1:1/hello.tar.gz"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (Exit(code=0), 0),
        (Exit(code=7), 7),
        (Exit(signal="SIGKILL"), 137),
        (Exit(signal="SIGRTMIN+2"), 128 + signal.SIGRTMIN + 2),
        (Exit(signal="SIGODD"), 128),
        (None, 1),
    ],
)
def test_the_exit_code_is_that_of_a_shell(how: Exit | None, code: int) -> None:
    process: Process = attrs.evolve(parse_process(STATUS), exit=how)
    assert exit_code_of(process) == code


async def finish(shell: Shell, code: int = 0) -> FakeChild:
    child = await shell.world.spawner.next_child()
    child.write(b"out\n")
    child.write_error(b"err\n")
    child.exit(code)
    return child


@pytest.mark.parametrize("code", [0, 3])
async def test_output_and_exit_code_are_handed_on(
    capsys: pytest.CaptureFixture[str], code: int
) -> None:
    async with open_shell(capsys) as shell, trio.open_nursery() as nursery:
        nursery.start_soon(finish, shell, code)
        argv = ("run", URL, "--once", "--command", "migrate --all", "-e", "A=1")
        assert await shell.on(*argv) == code
        assert (shell.out, shell.err) == ("out\n", "err\n")
        [child] = shell.world.spawner.children
        assert child.command.argv == ("/bin/sh", "-c", "exec migrate --all")
        assert (child.command.env["A"], child.command.env["SMARTMOB_SLUG"]) == ("1", "hello.run.0")
        assert await shell.on("ps") == 0
        assert shell.out == ""


async def test_several_runs_have_names_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shell(capsys) as shell, trio.open_nursery() as nursery:
        run = ("run", URL, "--type", "web")
        assert await shell.on(*run, "--node", "run.0") == 0
        await shell.world.spawner.next_child()
        nursery.start_soon(finish, shell)
        assert await shell.on(*run, "--once") == 0
        assert shell.world.spawner.children[1].command.env["SMARTMOB_NODE"] == "run.1"
        assert await shell.on(*run, "--once", "--node", "run.0") == 1
        assert "hello.run.0" in shell.err


async def test_what_cannot_run_is_told_and_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shell(capsys) as shell:
        assert await shell.on("run", URL, "--once", "--type", "none") == 1
        assert "unknown process type" in shell.err
        assert await shell.on("ps") == 0
        assert shell.out == ""


@pytest.mark.parametrize(
    "options",
    [
        ("--once", "--attach"),
        ("--once", "--json"),
        ("--once", "--restart", "always"),
        ("--type", "web", "--command", "x"),
        ("--port", "0"),
        ("--port", "x"),
    ],
)
async def test_what_makes_no_sense_is_wrong_use(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    async with open_shell(capsys) as shell:
        assert await shell.on("run", URL, *options) == 2
        assert shell.err.startswith(("smartmob: expected", "Usage:", "smartmob: Invalid"))


async def test_a_start_that_is_put_off_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shell(capsys) as shell, trio.open_nursery() as nursery:
        shell.world.spawner.errors.append(SpawnError("no memory"))
        nursery.start_soon(finish, shell)
        assert await shell.on("run", URL, "--once", "--port", "4000") == 0
        assert "hello.run.0: no memory; it is tried again" in shell.err
        assert shell.world.spawner.children[0].command.env["PORT"] == "4000"


async def test_runs_without_end_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smartmob_agent.client_cli.once._NODES", 0)
    async with open_shell(capsys) as shell:
        assert await shell.on("run", URL, "--once") == 1
        assert "there are 0 runs of this app" in shell.err


async def test_lines_that_are_lost_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    config = AgentConfig(port=0, output=OutputLimits(console_bytes=1))

    async def write(shell: Shell) -> None:
        child = await shell.world.spawner.next_child()
        for number in range(200):
            child.write(b"x" * 50_000 + b"%d\n" % number)
        child.exit()

    async with open_shell(capsys, config) as shell, trio.open_nursery() as nursery:
        nursery.start_soon(write, shell)
        assert await shell.on("run", URL, "--once") == 0
        lost = shell.err.count("lines are lost")
        assert lost or len(shell.out.splitlines()) == 200


async def test_an_agent_that_stops_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async def stop(shell: Shell) -> None:
        await shell.world.spawner.next_child()
        shell.world.agent.stop()

    async with open_shell(capsys) as shell, trio.open_nursery() as nursery:
        nursery.start_soon(stop, shell)
        assert await shell.on("run", URL, "--once") != 0
        assert shell.err


async def test_a_process_that_has_finished_is_no_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless its child failed within its first second, which is a minute here."""
    monkeypatch.setattr("smartmob_agent.client_cli.startup.STEADY_TIME", 60.0)
    config = AgentConfig(port=0, restart=RARELY)  # No second child comes in between.
    async with open_shell(capsys, config) as shell, trio.open_nursery() as nursery:
        nursery.start_soon(finish, shell)
        assert await shell.on("run", URL, "--restart", "never", "--port", "none") == 0
        assert "PORT" not in shell.world.spawner.children[0].command.env
        nursery.start_soon(finish, shell, 3)
        assert await shell.on("run", URL, "--restart", "on-failure", "--node", "b") == 1
        nursery.start_soon(finish, shell, 3)
        assert await shell.on("run", URL, "--restart", "never", "--node", "c") == 1
        assert "tried again" not in shell.err
        assert sorted(shell.err.splitlines()[-2:]) == ["    err", "    out"]


@pytest.mark.slow
@pytest.mark.measures_children
async def test_ctrl_c_ends_and_deletes_it(tmp_path: Path) -> None:
    """And the exit code says so."""
    (tmp_path / "Procfile").write_text("web: sleep 1000\n")
    async with running_agent() as agent:
        argv = [sys.executable, "-m", "smartmob_agent.client_cli", "run", str(tmp_path), "--once"]
        command = await trio.lowlevel.open_process(
            [*argv, "--agent", agent.url, "--app", "hello"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        await agent.wait_event(event="state", slug="hello.run.0", state="running")
        command.send_signal(signal.SIGINT)
        # To a shell both are 130.  Python ends itself by the signal if that comes while it runs
        # code that it has as text, as some of its modules do when they are imported.
        assert await command.wait() in (130, -signal.SIGINT)
        await agent.wait_event(event="state", slug="hello.run.0", state="gone")
        assert command.stdout is not None
        assert command.stderr is not None
        async with command.stdout, command.stderr:
            assert await command.stdout.receive_some() == b""

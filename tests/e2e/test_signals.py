"""Signals that come before the agent is there, twice, or to one whose parent has blocked them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.e2e.agent import LIMIT, archive_server, running_agent, shell_app

pytestmark = [pytest.mark.slow, pytest.mark.measures_children]

MASKED = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-m", "smartmob_agent", *sys.argv[1:]])
"""


@asynccontextmanager
async def starting(*arguments: str) -> AsyncIterator[tuple[trio.Process, trio.abc.ReceiveStream]]:
    """Start a Python program; yield it and its log."""
    with trio.fail_after(LIMIT):
        process = await trio.lowlevel.open_process(
            [sys.executable, *arguments, "--port=0"],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        assert process.stderr is not None
        try:
            yield process, process.stderr
        finally:
            process.kill()
            with trio.move_on_after(LIMIT, shield=True):
                await process.wait()
                await process.stderr.aclose()


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("a-token-of-some-length\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_while_the_agent_starts_is_obeyed_when_it_has_started(
    by: signal.Signals, tokens: Path
) -> None:
    """SIGHUP reloads, and the others end it in order: neither a traceback nor a silent death."""
    arguments = ("-m", "smartmob_agent", f"--token-file={tokens}")
    async with starting(*arguments) as (process, stderr):
        await wait_masked(process.pid)
        process.send_signal(by)
        log = b""
        wanted = b"tokens reloaded" if by == signal.SIGHUP else b"event=stop"
        while wanted not in log:
            data = await stderr.receive_some()
            assert data, log
            log += data
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert b"Traceback" not in log


async def wait_masked(pid: int) -> None:
    """Wait until the process holds SIGTERM back: its first instruction is over."""
    while True:
        status = await trio.to_thread.run_sync(Path(f"/proc/{pid}/status").read_text)
        blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
        if blocked >> (signal.SIGTERM - 1) & 1:
            return


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_signals_that_the_parent_has_blocked_or_ignored_are_obeyed(
    by: signal.Signals,
) -> None:
    async with starting("-c", MASKED) as (process, stderr):
        assert b"event=" in await stderr.receive_some()
        process.send_signal(by)
        assert await process.wait() == 0


async def test_a_signal_that_comes_twice_at_once_is_one_request(tmp_path: Path) -> None:
    """The child has its time: here until it is let go."""
    script = "trap 'echo asked; read line <\"$GATE\"; exit' TERM; echo up; sleep 1000 & wait"
    async with archive_server() as server, running_agent("--stop-timeout=3600") as agent:
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        await agent.create(server.add("app", shell_app(script)), env={"GATE": str(gate)})
        async with agent.attach("app.web.0", "?tail=9") as socket:
            assert await socket.get_message() == "up"
            agent.process.send_signal(signal.SIGTERM)
            agent.process.send_signal(signal.SIGINT)
            assert await socket.get_message() == "asked"
            await trio.to_thread.run_sync(gate.write_text, "go\n")
        assert await agent.process.wait() == 0

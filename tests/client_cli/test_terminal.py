"""The command at a pseudo-terminal, as a human sees it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from tests.client.agent import silent_server
from tests.e2e.agent import LIMIT, running_agent

pytestmark = [pytest.mark.slow, pytest.mark.measures_children]

SLUG = "app.web.0"
APP = {
    "Procfile": "web: exec sh ./run.sh\n",
    "run.sh": "echo out; echo err >&2; exec sleep 1000\n",
    "ballast": "x" * 300_000,
}


@attrs.define(eq=False)
class Terminal:
    """One command at a terminal of its own.

    seen: what it showed.
    """

    process: trio.Process
    fd: int
    seen: str = ""

    async def wait_for(self, pattern: str) -> None:
        """Read until it shows something."""
        with trio.fail_after(LIMIT):
            await trio.lowlevel.checkpoint()
            while not re.search(pattern, self.seen):
                assert await self._read(), f"expected {pattern!r}, found {self.seen!r}"

    async def press(self, keys: bytes) -> None:
        await trio.lowlevel.wait_writable(self.fd)
        os.write(self.fd, keys)

    async def end(self) -> int:
        """Read to the end and return the exit code."""
        with trio.fail_after(LIMIT):
            while await self._read():
                pass
            return await self.process.wait()

    async def _read(self) -> bool:
        await trio.lowlevel.wait_readable(self.fd)
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: all of its users have closed it.
            return False
        self.seen += data.decode()
        return bool(data)


@asynccontextmanager
async def at_terminal(
    url: str, *argv: str, env: Mapping[str, str] | None = None
) -> AsyncGenerator[Terminal]:
    """Start a command; CTRL-C reaches it."""
    main, child = pty.openpty()
    os.set_blocking(main, False)
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", _PROGRAM, *argv],
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
        env={
            **{key: value for key, value in os.environ.items() if key != "NO_COLOR"},
            "TERM": "xterm-256color",
            "COLUMNS": "200",
            "SMARTMOB_AGENT": url,
            "SMARTMOB_CONFIG": "/nowhere",
            **(env or {}),
        },
    )
    os.close(child)
    try:
        yield Terminal(process, main)
    finally:
        os.close(main)
        with trio.move_on_after(LIMIT, shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()


_PROGRAM = (
    # The terminal is that of the session; then CTRL-C is a signal to its processes.
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from smartmob_agent.client_cli.cli import main; sys.exit(main())"
)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    directory = tmp_path / "app"
    directory.mkdir()
    for name, text in APP.items():
        (directory / name).write_text(text)
    return directory


async def test_an_app_is_run_and_left(app: Path) -> None:
    """It is uploaded with a bar, its stderr is in another colour, and CTRL-C stops nothing."""
    async with running_agent("--stop-timeout=0") as agent:
        async with at_terminal(agent.url, "run", str(app), "--attach") as terminal:
            await terminal.wait_for(f"{SLUG}\r\n")
            assert "uploading" in terminal.seen
            await terminal.wait_for(r"-- started, pid \d+ --")
            await terminal.wait_for(r"out\r\n")
            await terminal.wait_for("\x1b\\[33merr\x1b\\[0m\r\n")
            await terminal.press(b"\x03")
            assert await terminal.end() == 0
            assert terminal.seen.endswith("^C\r\nsmartmob: left; what runs goes on\r\n")
        assert (await agent.status(SLUG))["state"] == "running"

        async with at_terminal(agent.url, "ps") as terminal:
            assert await terminal.end() == 0
            assert "SLUG" in terminal.seen
            assert re.search("\x1b\\[32mrunning *\x1b\\[0m", terminal.seen)
            assert re.search(r"\d+ s ago|now", terminal.seen)

        env = {"TERM": "dumb"}
        async with at_terminal(agent.url, "run", str(app), "--node=1", env=env) as terminal:
            assert await terminal.end() == 0
            assert terminal.seen == "app.1\r\n"

        async with at_terminal(agent.url, "status", SLUG, env={"NO_COLOR": "1"}) as terminal:
            assert await terminal.end() == 0
            assert re.search("slug +(\x1b\\[0m)? +app\\.web\\.0", terminal.seen)
            assert "\x1b[32m" not in terminal.seen

        async with (
            at_terminal(agent.url, "events", SLUG) as terminal,
            at_terminal(agent.url, "logs", SLUG, "-f", "--tail", "1") as other,
        ):
            await other.wait_for("(out|err)")
            await terminal.wait_for(rf"\d\d:\d\d:\d\d.*{SLUG}.*running.*pid \d+")
            async with at_terminal(agent.url, "restart", SLUG) as third:
                assert await third.end() == 0
            await terminal.wait_for(r"running → .*backoff.* it is started again because")
            await terminal.wait_for("backoff → \x1b\\[32mrunning\x1b\\[0m\x1b\\[2m  pid")
            for left in (terminal, other):
                await left.press(b"\x03")
                assert await left.end() == 0
                assert left.seen.endswith("^C\r\nsmartmob: left; what runs goes on\r\n")

        async with at_terminal(agent.url, "open", env={"BROWSER": "echo opened %s"}) as terminal:
            assert await terminal.end() == 0
            assert f"opened {agent.url}" in terminal.seen

        # Both lines: two pipes have no common order, so either may be the last.
        async with at_terminal(agent.url, "logs", SLUG, "-f", "--tail", "2") as terminal:
            await terminal.wait_for("err")
            os.kill((await agent.status(SLUG))["pid"], signal.SIGKILL)
            await terminal.wait_for("-- ended: SIGKILL --")
            await agent.delete(SLUG)
            assert await terminal.end() == 0
            assert terminal.seen.endswith("-- the process was deleted --\x1b[0m\r\n")


async def test_an_app_has_only_its_lines(app: Path) -> None:
    """What it writes there changes neither the terminal nor the lines of others."""
    wild = r"\033[31mred \033[2J\033]0;title\007\033[?25l\033(0"
    tame, raw = "\x1b[31mred \x1b[0m\r\n", "\x1b[2J\x1b]0;title\x07"
    (app / "run.sh").write_text(f"printf '{wild}\nplain\n'; exec sleep 1000\n")
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    async with running_agent("--stop-timeout=0") as agent:
        async with at_terminal(agent.url, "run", str(app), "--attach") as terminal:
            await terminal.wait_for(r"plain\r\n")
            assert f"{tame}plain\r\n" in terminal.seen
            await terminal.press(b"\x03")
            await terminal.end()
        for options, seen in (
            ([], f"{tame}plain\r\n"),
            (["--raw"], "\x1b[?25l\x1b(0\r\nplain\r\n"),
        ):
            async with at_terminal(agent.url, "logs", SLUG, *options) as terminal:
                assert await terminal.end() == 0
                assert terminal.seen.endswith(seen)
                assert (raw in terminal.seen) is bool(options)
        async with at_terminal(agent.url, "logs", SLUG, "-f", "--raw") as terminal:
            await terminal.wait_for("plain\r\n")
            assert raw in terminal.seen
        async with at_terminal(agent.url, "logs", SLUG, "-t") as terminal:
            assert await terminal.end() == 0
            assert re.fullmatch(f"{time} {re.escape(tame)}{time} plain\r\n", terminal.seen)
        async with at_terminal(agent.url, "logs", SLUG, "-ft") as terminal:
            await terminal.wait_for(f"\x1b\\[2m{time}\x1b\\[0m plain\r\n")
            assert re.search(f"\x1b\\[2m{time}\x1b\\[0m {re.escape(tame)}", terminal.seen)
        for env in ({"TERM": "dumb"}, {"NO_COLOR": "1"}):
            for options in (["-f"], []):
                async with at_terminal(agent.url, "logs", SLUG, *options, env=env) as terminal:
                    await terminal.wait_for(r"red \r\nplain\r\n")
                    assert "\x1b" not in terminal.seen


async def test_ctrl_c_before_there_is_a_process_leaves_none(app: Path) -> None:
    """The archive is on its way, at a server that never answers."""
    async with silent_server() as url:
        argv = ("run", str(app), "--attach", "--agent", url)
        async with at_terminal(url, *argv) as terminal:
            await terminal.wait_for("uploading")
            await terminal.press(b"\x03")
            assert await terminal.end() == 130
            assert terminal.seen.endswith("\r\nsmartmob: interrupted\r\n")


async def test_a_reader_that_goes_ends_the_command_without_a_word(app: Path) -> None:
    """As `smartmob logs -f SLUG | head -1` does."""
    async with running_agent("--stop-timeout=0") as agent:
        env = {**os.environ, "SMARTMOB_AGENT": agent.url, "SMARTMOB_CONFIG": "/nowhere"}
        (app / "run.sh").write_text("while echo line; do sleep 0.01; done\n")
        command = [sys.executable, "-m", "smartmob_agent.client_cli"]
        with trio.fail_after(LIMIT):
            await trio.run_process([*command, "run", str(app)], env=env, stdout=subprocess.DEVNULL)
            follower = await trio.lowlevel.open_process(
                [*command, "logs", "-f", SLUG],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert follower.stdout is not None
            assert follower.stderr is not None
            assert (await follower.stdout.receive_some()).startswith(b"line\n")
            await follower.stdout.aclose()
            async with follower.stderr as stderr:
                assert b"".join([chunk async for chunk in stderr]) == b""
            assert await follower.wait() == 141

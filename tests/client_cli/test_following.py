"""Logs that are followed when the agent has dropped lines before."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio

from smartmob_agent import AgentConfig, OutputLimits
from smartmob_agent.client import open_client
from smartmob_agent.client_cli.commands.logs import show_logs
from smartmob_agent.client_cli.commands.run import follow_from_first_line
from smartmob_agent.client_cli.settings import Settings
from tests.client.agent import CREATE, open_world

SLUG = "hello.web.0"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "


class Watched(io.BytesIO):
    """A stdout that tells when it gets something."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.written = trio.Event()
        self._terminal = terminal

    def write(self, data: Any) -> int:
        self.written.set()
        return super().write(data)

    def isatty(self) -> bool:
        return self._terminal


async def follow(
    work: Callable[[Settings], Awaitable[object]], stdout: Watched, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Follow a process whose first lines are dropped; return what was written."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stdout))
    config = AgentConfig(port=0, stop_timeout=0, output=OutputLimits(console_bytes=50_000))
    async with open_world(config) as world, open_client(world.url) as client:
        await client.create(**CREATE)
        child = await world.spawner.next_child()
        async with client.attach(SLUG, after=0) as lines:
            for number in range(1, 31):
                child.write(b"line %d " % number + b"x" * 5000 + b"\n")
            while not (await lines.receive()).text.startswith("line 30"):
                pass
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, Settings(name="a", url=world.url))
            await stdout.written.wait()
            await client.delete(SLUG)
    return stdout.getvalue().decode()


@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
async def test_what_was_dropped_before_is_no_loss_to_logs(
    terminal: bool,
    times: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(agent: Settings) -> None:
        await show_logs([agent], [SLUG], follow=True, tail=None, as_json=False, times=times)

    monkeypatch.setenv("NO_COLOR", "1")
    text = await follow(work, Watched(terminal=terminal), monkeypatch)
    assert re.match(rf"{TIME}line " if times else "line ", text)
    assert "are lost" not in text + capsys.readouterr().err


async def test_lines_that_are_lost_are_told_with_times_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(agent: Settings) -> None:
        await show_logs([agent], [SLUG], follow=True, tail=None, as_json=False, times=True, after=0)

    text = await follow(work, Watched(terminal=False), monkeypatch)
    assert re.match(rf"{TIME}line ", text)
    assert re.search(r"hello.web.0: \d+ lines are lost: ", capsys.readouterr().err)


@pytest.mark.parametrize("terminal", [True, False])
async def test_run_promises_the_first_line_and_tells_its_loss(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> int:
        await trio.lowlevel.checkpoint()
        return 0

    work = partial(follow_from_first_line, slug=SLUG, check=check, as_json=False)
    text = await follow(work, Watched(terminal=terminal), monkeypatch)
    assert "lines are lost: the agent has them no more" in text + capsys.readouterr().err

"""What the command takes from its surroundings; the rest of it runs in tests/e2e."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from smartmob_agent.agent import Agent
from smartmob_agent.agent_cli import main as cli
from smartmob_agent.agent_cli.clock import PatientClock
from smartmob_agent.agent_cli.options import parse_options
from smartmob_agent.config.settings import AgentConfig, Containment


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of this very process stay as they are."""
    monkeypatch.setattr(cli, "find_delegated_cgroup", lambda: Path("/found"))
    monkeypatch.setattr(cli, "default_max_processes", lambda: 512)
    monkeypatch.setattr(cli, "default_user_processes", lambda: 4096)
    monkeypatch.setattr(cli, "raise_open_files", lambda: 1024)


def test_sockets_that_were_handed_over_are_taken() -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
    assert cli._with_surroundings(AgentConfig(), environ).descriptors == (3, 4)


def test_what_was_asked_for_stays() -> None:
    asked = Containment(max_processes=7, max_user_processes=70, cgroup=Path("/asked"))
    found = cli._with_surroundings(AgentConfig(containment=asked), {})
    assert found.containment == attrs.evolve(asked, open_files=1024)


def test_what_was_not_asked_for_is_looked_for() -> None:
    found = cli._with_surroundings(AgentConfig(), {}).containment
    assert found == Containment(
        max_processes=512, max_user_processes=4096, open_files=1024, cgroup=Path("/found")
    )


def test_the_command_lets_no_pause_use_up_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(*_: object) -> int:
        await trio.lowlevel.checkpoint()
        return 42 if isinstance(trio.lowlevel.current_clock(), PatientClock) else 1

    monkeypatch.setattr(cli, "_run", look)
    assert cli.run(parse_options([], {}), {}) == 42


class Deaf:
    """An agent that some defect keeps from ending."""

    def stop(self) -> None: ...

    kill = stop


@attrs.define(eq=False)
class Signals:
    """SIGTERM, each so many seconds after the one before, and none after them."""

    delays: list[float]

    def __aiter__(self) -> Signals:
        return self

    async def __anext__(self) -> int:
        if not self.delays:
            await trio.sleep_forever()
        await trio.sleep(self.delays.pop(0))
        return signal.SIGTERM


class Obedient:
    """An agent that notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str]] = []
        self._start = trio.current_time()

    def stop(self) -> None:
        self.calls.append((trio.current_time() - self._start, "stop"))

    def kill(self) -> None:
        self.calls.append((trio.current_time() - self._start, "kill"))


async def test_a_signal_that_is_told_twice_is_one_request(autojump_clock: MockClock) -> None:
    """`timeout`, npm and shells signal a command and its process group; later it is meant."""
    agent, codes = Obedient(), [0]
    await cli._obey(
        Signals([0, 0, 0.9, 0.1]),
        cast("Agent", agent),
        codes,
        flush_logs=lambda: None,
        give_up=codes.append,
    )
    assert [(round(at, 6), what) for at, what in agent.calls] == [(0, "stop"), (1, "kill")]


async def test_the_second_signal_ends_also_what_hangs(autojump_clock: MockClock) -> None:
    """The exit code comes from the kernel's own exit, half a minute later."""
    codes: list[int] = []
    given_up: list[tuple[float, int | None]] = []
    start = trio.current_time()
    await cli._obey(
        Signals([0, 1]),
        cast("Agent", Deaf()),
        codes,
        flush_logs=lambda: given_up.append((trio.current_time() - start, None)),
        give_up=lambda code: given_up.append((trio.current_time() - start, code)),
    )
    assert (codes, given_up) == ([1], [(31.0, None), (31.0, 1)])

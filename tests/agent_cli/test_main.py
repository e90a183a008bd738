"""What the command takes from its surroundings; the rest of it runs in tests/e2e."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from smartmob_agent.agent import Agent
from smartmob_agent.agent_cli import main as cli
from smartmob_agent.config.settings import AgentConfig, Containment


def test_sockets_that_were_handed_over_are_taken() -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
    assert cli._with_surroundings(AgentConfig(), environ).descriptors == (3, 4)


def test_what_was_asked_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "find_delegated_cgroup", lambda: Path("/found"))
    monkeypatch.setattr(cli, "default_max_processes", lambda **_: 512)
    asked = Containment(max_processes=7, cgroup=Path("/asked"))
    found = cli._with_surroundings(AgentConfig(containment=asked), {})
    assert found.containment == asked


def test_what_was_not_asked_for_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "find_delegated_cgroup", lambda: Path("/found"))
    monkeypatch.setattr(cli, "default_max_processes", lambda *, own_cgroups: 512 + own_cgroups)
    found = cli._with_surroundings(AgentConfig(), {}).containment
    assert found == Containment(max_processes=513, cgroup=Path("/found"))


class Deaf:
    """An agent that some defect keeps from ending."""

    def stop(self) -> None: ...

    kill = stop


async def test_the_second_signal_ends_also_what_hangs(autojump_clock: MockClock) -> None:
    """The exit code comes from the kernel's own exit, half a minute later."""
    send, arrivals = trio.open_memory_channel[int](2)
    for signum in (signal.SIGTERM, signal.SIGTERM):
        send.send_nowait(signum)
    codes: list[int] = []
    given_up: list[tuple[float, int | None]] = []
    start = trio.current_time()
    await cli._obey(
        arrivals,
        cast("Agent", Deaf()),
        codes,
        flush_logs=lambda: given_up.append((trio.current_time() - start, None)),
        give_up=lambda code: given_up.append((trio.current_time() - start, code)),
    )
    assert (codes, given_up) == ([1], [(30.0, None), (30.0, 1)])

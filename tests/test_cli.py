"""What the command takes from its surroundings; the rest of it runs in tests/e2e."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smartmob_agent import cli
from smartmob_agent.config import AgentConfig, Containment


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

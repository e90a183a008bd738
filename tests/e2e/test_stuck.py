"""Children that cannot be killed, with a frozen cgroup v1 as stand-in for a broken disk."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.agents import Agent, open_agent
from tests.e2e.sandbox import Sandbox, cgroup_root, open_sandbox

FREEZERS = Path("/sys/fs/cgroup/freezer")

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs cgroups"),
    pytest.mark.skipif(
        not cgroup_root() or not os.access(FREEZERS / "tasks", os.W_OK),
        reason="needs to be root with the freezer of cgroup v1: that of v2 lets SIGKILL through",
    ),
    pytest.mark.slow,
    pytest.mark.measures_children,
]

TIMEOUT = 1.25
"""A quarter of what a silent shim has, so that nobody waits for 10 s."""


class Freezer:
    """A cgroup whose members do not even die while it is frozen."""

    def __init__(self) -> None:
        self.directory = FREEZERS / f"smartmob-test-{uuid.uuid4().hex}"
        self.directory.mkdir()

    def freeze(self, *pids: int) -> None:
        for pid in pids:
            (self.directory / "tasks").write_text(str(pid))
        (self.directory / "freezer.state").write_text("FROZEN")

    def thaw(self) -> None:
        (self.directory / "freezer.state").write_text("THAWED")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def freezer(sandbox: Sandbox) -> Iterator[Freezer]:
    freezer = Freezer()
    yield freezer
    freezer.thaw()
    sandbox.wait_empty(10)
    freezer.directory.rmdir()


@pytest.fixture
def agent(sandbox: Sandbox, freezer: Freezer) -> Iterator[Agent]:
    with open_agent(sandbox, "root", shim_timeout=TIMEOUT) as agent:
        yield agent


def test_what_cannot_be_killed_is_named_and_goes_when_it_can(
    agent: Agent, freezer: Freezer, sandbox: Sandbox
) -> None:
    spawned = agent("spawn", script="setsid sleep 1000 & echo $!; exec sleep 1000", lines=1)
    daemon = int(spawned["lines"][0])
    freezer.freeze(spawned["pid"], daemon)
    began = time.monotonic()
    assert sorted(agent("kill", child=0)) == sorted([spawned["pid"], daemon])
    # Not before its time, and not never: a busy machine may take longer than the sum.
    assert 2 * TIMEOUT <= time.monotonic() - began < 2 * TIMEOUT + 20
    freezer.thaw()
    sandbox.wait_only(sandbox.pids() - agent.apps(), 20)
    agent("wait", child=0)
    assert agent("kill", child=0) == []


def test_the_agent_does_not_wait_for_ever_when_it_stops(
    agent: Agent, freezer: Freezer, sandbox: Sandbox
) -> None:
    pid = agent("spawn", script="echo; exec sleep 1000", lines=1)["pid"]
    shim = agent.shim(pid)
    zygote = agent.zygote(pid)
    freezer.freeze(pid)
    agent.stop()
    assert agent.process.wait(2 * TIMEOUT + 20) == 0
    assert sandbox.pids() <= {pid, shim, zygote}
    assert pid in sandbox.pids()
    freezer.thaw()
    assert sandbox.wait_empty(20) < 20


def test_the_agent_is_killed_beside_one(agent: Agent, freezer: Freezer, sandbox: Sandbox) -> None:
    pid = agent("spawn", script="echo; exec sleep 1000", lines=1)["pid"]
    freezer.freeze(pid)
    agent.kill()
    with pytest.raises(AssertionError, match="left after"):
        sandbox.wait_empty(0.1)
    freezer.thaw()
    assert sandbox.wait_empty(20) < 20

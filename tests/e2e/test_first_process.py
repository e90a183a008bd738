"""The agent as the first process of a container, made by `unshare`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from smartmob_agent.child.guard.kernel import children, look
from tests.e2e.agents import Agent, open_agent
from tests.e2e.sandbox import Sandbox, cgroup_root, open_sandbox

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs PID namespaces"),
    pytest.mark.skipif(not cgroup_root(), reason="needs to be root with cgroup v2"),
    pytest.mark.slow,
]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def agent(sandbox: Sandbox) -> Iterator[Agent]:
    with open_agent(sandbox, "root", wrapper=["unshare", "-pf", "--mount-proc"]) as agent:
        yield agent


def inside(agent: Agent) -> int:
    """The number of the agent as we see it: it is the child of `unshare`."""
    (pid,) = children(agent.pid)
    return pid


def zombies(pid: int) -> list[int]:
    found = [look(child) for child in children(pid)]
    return [process.pid for process in found if process and process.state == "Z"]


def test_foreign_orphans_are_reaped_and_exit_codes_are_not_stolen(agent: Agent) -> None:
    pid = inside(agent)
    enter = ["nsenter", f"--target={pid}", "--pid", "--mount", "/bin/sh", "-c"]
    # The sleepers outlive the shell, so they are the agent's when they end.
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.01 & (setsid sleep 0.02 &) ; done"
    subprocess.run([*enter, script], check=True)
    assert agent("cycle", script="exit 7", count=50) == ["exit code 7"]
    assert zombies(pid) == []
    assert len(children(pid)) == 1, "the zygote"


def test_a_foreign_process_is_reaped_but_not_killed(agent: Agent) -> None:
    pid = inside(agent)
    enter = ["nsenter", f"--target={pid}", "--pid", "--mount", "/bin/sh", "-c"]
    subprocess.run([*enter, "sleep 1000 &"], check=True)
    assert agent("cycle", script="exit 7", count=1) == ["exit code 7"]
    assert len(children(pid)) == 2


def test_its_end_is_the_end_of_the_container(agent: Agent, sandbox: Sandbox) -> None:
    agent("spawn", script="setsid sleep 1000 & echo; exec sleep 1000", lines=1)
    os.kill(inside(agent), signal.SIGKILL)
    assert sandbox.wait_empty(20) < 20

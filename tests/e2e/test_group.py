"""Systems without a subreaper, such as macOS: what is left of the promises there.

Nothing of this was ever run there.  Linux plays such a system: its guard finds no subreaper, no
parent-death signals, no pidfds and no list of children.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from smartmob_agent.child import zygote_client as zygote
from smartmob_agent.child.seam import Command, Exit
from smartmob_agent.child.spawner import open_spawner
from tests.e2e.agents import LIMIT, Agent, open_agent, users
from tests.e2e.sandbox import Sandbox, open_sandbox, wait_end

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to count survivors"),
    pytest.mark.slow,
]

ELSEWHERE = Path(__file__).with_name("elsewhere") / "guard" / "zygote.py"
MEMBERS = "sleep 1000 & sleep 1000 & echo; wait"
DAEMON = "setsid sh -c 'echo $$; exec sleep 1000' & exec sleep 1000"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def agent(sandbox: Sandbox) -> Iterator[Agent]:
    with open_agent(sandbox, users()[-1], guard=str(ELSEWHERE)) as agent:
        yield agent


def test_the_level_is_told(agent: Agent) -> None:
    assert agent("containment") == "group"


def test_a_group_ends_with_the_agent(agent: Agent, sandbox: Sandbox) -> None:
    agent("spawn", script=MEMBERS, lines=1)
    agent("spawn", script="trap '' TERM; echo; sleep 1000 & wait", lines=1)
    agent.kill()
    assert sandbox.wait_empty(20) < 20


def test_what_leaves_the_group_stays(agent: Agent, sandbox: Sandbox) -> None:
    """The limit that the documentation names."""
    (daemon,) = agent("spawn", script=DAEMON, lines=1)["lines"]
    survivor = sandbox.pid(int(daemon))
    agent.kill()
    sandbox.wait_only({survivor}, 20)
    assert sandbox.pids() == {survivor}


def test_a_group_ends_with_its_leader(agent: Agent, sandbox: Sandbox) -> None:
    """The news may come a little earlier than the end: nobody is told of that."""
    (member,) = agent("spawn", script="sleep 1000 & echo $!; sleep 0.1; exit 3", lines=1)["lines"]
    pid = sandbox.pid(int(member))
    assert agent("wait", child=0) == {"code": 3, "signal": None}
    wait_end(pid, 20)
    assert agent.apps() == set()


def test_delete_ends_a_group_and_no_other(agent: Agent) -> None:
    agent("spawn", script=MEMBERS, lines=1)
    before = agent.apps()
    agent("spawn", script=MEMBERS, lines=1)
    members = agent.apps() - before
    agent("delete", child=1)
    for pid in members:
        wait_end(pid, 20)
    assert agent.apps() == before


async def test_the_agent_needs_no_pidfds_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote, "_GUARD", ELSEWHERE)
    monkeypatch.delattr(os, "pidfd_open")
    command = Command(argv=("/bin/sleep", "1000"), env={}, cwd=Path("/"))
    with trio.fail_after(LIMIT):
        async with open_spawner() as spawner:
            child = await spawner.spawn(command)
            child.kill()
            assert await child.wait() == Exit(signal=signal.SIGKILL)
            await child.wait_empty()
            child.close_pipes()

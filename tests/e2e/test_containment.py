"""Nothing is left behind: every tree dies with its process, and with the agent."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smartmob_agent.child.guard.kernel import look
from tests.e2e.agents import LIMIT, Agent, open_agent, users
from tests.e2e.sandbox import Sandbox, open_sandbox

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper (prctl(2))"),
    pytest.mark.slow,
]

OpenAgent = Callable[..., Agent]

BOMB = 512
"""Processes of a fork bomb."""

PLAIN = "echo; exec sleep 1000"

EVASIVE = {
    "plain": (PLAIN, 1),
    "pipeline": ("sleep 1000 | sleep 1000 | sleep 1000 & echo; wait", 4),
    "setsid": ("setsid sleep 1000 & echo; exec sleep 1000", 2),
    "double fork": ("(setsid sh -c 'sleep 1000 & echo' &); exec sleep 1000", 2),
    "nohup": ("nohup sleep 1000 2>/dev/null & echo; exec sleep 1000", 2),
    "env -i": ("env -i setsid /bin/sleep 1000 & echo; exec sleep 1000", 2),
    "no descriptors": ("setsid sh -c 'echo; exec sleep 1000 <&- >&- 2>&-' & sleep 1000", 3),
    "stopped": ("sh -c 'kill -STOP $$' & echo; kill -STOP $$", 2),
    "deaf": ("trap '' HUP INT QUIT TERM USR1 USR2 ALRM; setsid sleep 1000 & echo; wait", 2),
}
"""How an app may try to get away: its script, and how many processes it makes."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as sandbox:
        yield sandbox


@pytest.fixture(params=users())
def start(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[OpenAgent]:
    """Starts an agent as each kind of user."""
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> Agent:
            return stack.enter_context(open_agent(sandbox, request.param, **options))

        yield start


def start_all(agent: Agent) -> dict[str, int]:
    """All evasive apps, once they stand; name → pid, as the agent sees it."""
    shells, sleepers = count(agent)
    sleepers += sum(script.count("sleep 1000") for script, _ in EVASIVE.values())
    shells += sum(number - script.count("sleep 1000") for script, number in EVASIVE.values())
    pids = {
        name: agent("spawn", script=script, lines=1)["pid"] for name, (script, _) in EVASIVE.items()
    }
    end = time.monotonic() + LIMIT
    while count(agent) != (shells, sleepers) and time.monotonic() < end:
        agent("containment")  # some shells are still making way for their last command
    return pids


def count(agent: Agent) -> tuple[int, int]:
    """Apps that are shells or on their way, and those that sleep."""
    commands = agent.commands().values()
    sleepers = sum(1 for command in commands if command.split(b"\0")[0].endswith(b"sleep"))
    return len(commands) - sleepers, sleepers


def grow(count: int) -> str:
    """A script that makes a tree of that size, every fifth a daemon."""
    program = Path(__file__).with_name("growing_tree.py")
    return f"exec {sys.executable} -ISE {program} {count}"


# The agent is killed


def test_the_oracle_sees_what_nobody_guards(sandbox: Sandbox) -> None:
    """Without the guard all tests below would fail."""
    script = "sleep 1000 & setsid sleep 1000 & echo true; wait"
    process = sandbox.start(["/bin/sh", "-c", script])
    assert process.stdout
    assert process.stdout.readline() == b"true\n"
    os.kill(sandbox.main_pid(), signal.SIGKILL)
    with pytest.raises(AssertionError, match="left after"):
        sandbox.wait_empty(0.05)
    assert len(sandbox.pids()) == 2


def test_nothing_survives_the_agent(start: OpenAgent, sandbox: Sandbox) -> None:
    agent = start()
    start_all(agent)
    assert len(agent.apps()) == sum(count for _, count in EVASIVE.values())
    agent.kill()
    assert sandbox.wait_empty(20) < 20


def test_a_tree_of_a_thousand_does_not_survive(start: OpenAgent, sandbox: Sandbox) -> None:
    agent = start()
    agent("spawn", script=grow(1000), lines=1)
    assert len(sandbox.pids()) >= 1000
    agent.kill()
    assert sandbox.wait_empty(20) < 20


def test_nothing_survives_the_agents_process_group(start: OpenAgent, sandbox: Sandbox) -> None:
    agent = start()
    start_all(agent)
    os.killpg(os.getpgid(agent.pid), signal.SIGKILL)
    assert sandbox.wait_empty(20) < 20


def test_nothing_survives_agent_and_zygote(start: OpenAgent, sandbox: Sandbox) -> None:
    agent = start()
    zygote = agent.zygote(start_all(agent)["plain"])
    os.kill(zygote, signal.SIGKILL)
    agent.kill()
    assert sandbox.wait_empty(20) < 20


def test_nothing_survives_agent_and_one_shim(start: OpenAgent, sandbox: Sandbox) -> None:
    agent = start()
    shim = agent.shim(start_all(agent)["setsid"])
    os.kill(shim, signal.SIGSTOP)  # else it may have ended by itself by then
    agent.kill()
    os.kill(shim, signal.SIGKILL)
    assert sandbox.wait_empty(20) < 20


def test_a_stopped_shim_does_not_save_its_tree(start: OpenAgent, sandbox: Sandbox) -> None:
    """The zygote sees to it, half a second later."""
    agent = start()
    os.kill(agent.shim(start_all(agent)["setsid"]), signal.SIGSTOP)
    agent.kill()
    assert sandbox.wait_empty(20) < 20


def test_what_the_guard_ignores_does_not_weaken_it(start: OpenAgent, sandbox: Sandbox) -> None:
    agent = start()
    child = start_all(agent)["setsid"]
    for pid in (agent.zygote(child), agent.shim(child)):
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, signum)
    assert agent("spawn", script="echo alive", lines=1)["lines"] == ["alive"]
    agent.kill()
    assert sandbox.wait_empty(20) < 20


# A part of the guard is killed


def test_a_killed_shim_takes_its_tree_and_no_other(start: OpenAgent, sandbox: Sandbox) -> None:
    agent = start()
    start_all(agent)
    before = agent.apps()
    pid = agent("spawn", script=EVASIVE["setsid"][0], lines=1)["pid"]
    os.kill(agent.shim(pid), signal.SIGKILL)
    assert agent("wait", child=len(EVASIVE)) == {"code": None, "signal": signal.SIGKILL}
    assert agent.apps() == before


def test_a_killed_zygote_is_replaced_and_its_trees_live(start: OpenAgent, sandbox: Sandbox) -> None:
    agent = start()
    pids = start_all(agent)
    before = agent.apps()
    zygote = agent.zygote(pids["plain"])
    os.kill(zygote, signal.SIGKILL)
    assert agent("spawn", script="echo works", lines=1)["lines"] == ["works"]
    agent("wait", child=len(EVASIVE))
    assert agent.apps() == before
    assert zygote not in sandbox.pids()
    agent.kill()
    assert sandbox.wait_empty(20) < 20


# A process is deleted, or ends


def test_delete_returns_when_the_tree_is_gone_and_no_other_lost_a_pid(
    start: OpenAgent, sandbox: Sandbox
) -> None:
    agent = start()
    start_all(agent)
    before = agent.apps()
    start_all(agent)
    for child in range(len(EVASIVE), 2 * len(EVASIVE)):
        agent("delete", child=child, patience=0.1)
    assert agent.apps() == before


def test_many_daemons_are_held_for_a_moment_only(sandbox: Sandbox) -> None:
    """While their app is told to end, which may still need them."""
    herd = Path(__file__).with_name("daemon_herd.py")
    with open_agent(sandbox, users()[-1]) as agent:
        agent("spawn", script=f"exec {sys.executable} -ISE {herd}", lines=1)
        agent("delete", child=0, patience=LIMIT)
        assert agent("wait", child=0) == {"code": 5, "signal": None}
        assert agent.apps() == set()


def test_a_crash_clears_the_tree_so_that_its_port_is_free(
    start: OpenAgent, sandbox: Sandbox
) -> None:
    """A daemon of the app holds the port when the app itself has ended."""
    server = (
        "import os, socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
        "os.fork() or (os.setsid(), s.accept()); print(s.getsockname()[1], flush=True);"
        "os._exit(3)"
    )
    script = f'exec {sys.executable} -ISE -c "{server}" '
    agent = start()
    (port,) = agent("spawn", script=script + "0", lines=1)["lines"]
    assert agent("wait", child=0) == {"code": 3, "signal": None}
    assert agent.apps() == set()
    assert agent("spawn", script=script + port, lines=1)["lines"] == [port]


def test_exit_codes_are_never_stolen(start: OpenAgent) -> None:
    assert start()("cycle", script="exit 7", count=50) == ["exit code 7"]


def test_a_child_keeps_its_pid_beside_an_idle_agent(sandbox: Sandbox) -> None:
    """What a worker thread of trio has forked loses its parent when the thread has idled out.

    That takes 10 s in earnest; the first child is the proof that it has happened here.
    """
    with open_agent(sandbox, users()[-1], thread_timeout=0.1) as agent:
        spawned = agent("spawn", script=PLAIN, lines=1)
        assert agent("start_naively") == -signal.SIGKILL
        assert agent.apps() == {sandbox.pid(spawned["pid"])}


# What an app is given


def test_an_ordinary_agent_refuses_new_privileges(start: OpenAgent) -> None:
    agent = start()
    (line,) = agent("spawn", script="grep NoNewPrivs /proc/self/status", lines=1)["lines"]
    is_root = agent.uid() == 0
    assert line == f"NoNewPrivs:\t{0 if is_root else 1}"


def test_a_fork_bomb_is_gone_in_time(start: OpenAgent, sandbox: Sandbox) -> None:
    """Each process in a session of its own; root is not bound, so there the bomb counts.

    Who would kill one after the other would never come to an end: each is replaced at once.
    """
    agent = start(max_user_processes=BOMB)
    count = BOMB if agent.uid() == 0 else 100 * BOMB
    script = f"exec {sys.executable} -ISE {Path(__file__).with_name('fork_bomb.py')} {count}"
    agent("spawn", script=script, lines=1)
    began = time.monotonic()
    agent("kill", child=0)
    assert time.monotonic() - began < 20  # bench/spawn.py measures; a busy machine may be slow
    assert agent.apps() == set()


# What is deleted


def test_an_app_that_is_stopped_is_asked_all_the_same(start: OpenAgent) -> None:
    """As systemd does it: SIGCONT after SIGTERM, else only SIGKILL would end it."""
    agent = start()
    script = "trap 'exit 3' TERM; kill -STOP $$; sleep 1000"
    pid = agent.sandbox.pid(agent("spawn", script=script)["pid"])
    while (process := look(pid)) and process.state != "T":
        agent("containment")
    agent("delete", child=0)
    assert agent("wait", child=0) == {"code": 3, "signal": None}


# The machine has no more to give


def test_a_request_that_cannot_be_sent_fails_alone(sandbox: Sandbox) -> None:
    """An app can use up what its user may have of descriptors on their way; root may have more."""
    wrapper = ["prlimit", "--nofile=256:256"]  # of its own: the kernel compares with it
    with open_agent(sandbox, "ordinary", wrapper=wrapper) as agent:
        agent("spawn", script=PLAIN, lines=1)
        hog = str(Path(__file__).with_name("descriptor_hog.py"))
        spawned = agent("spawn", script=f"exec {sys.executable} -ISE {hog}", lines=1)
        full = "Too many references: cannot splice"
        assert spawned["lines"] == [full]
        before = agent.apps()
        refused = agent("spawn", script="exit 7")
        assert refused == {"error": f"cannot start '/bin/sh': request: {full}"}
        assert agent.apps() == before
        agent("delete", child=1)
        assert agent("cycle", script="exit 7", count=1) == ["exit code 7"]

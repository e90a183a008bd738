"""`isolation="pid"`: each child in a PID namespace of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import Agent, is_guard, open_agent, users
from tests.e2e.sandbox import Sandbox, cgroup_root, open_sandbox
from tests.e2e.test_containment import EVASIVE, start_all


def _can_isolate() -> bool:
    probe = ["unshare", "-Urpf", "--mount-proc", "true"]
    return not subprocess.run(probe, check=False, capture_output=True).returncode


pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or not _can_isolate(), reason="needs PID and user namespaces"
    ),
    pytest.mark.slow,
]

StartAgent = Callable[..., Agent]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as sandbox:
        yield sandbox


@pytest.fixture(params=users())
def start(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[StartAgent]:
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> Agent:
            return stack.enter_context(open_agent(sandbox, request.param, **options))

        yield start


@pytest.fixture
def agent(start: StartAgent) -> Agent:
    return start(isolation="pid")


def test_the_level_is_told(agent: Agent) -> None:
    assert agent("containment") == "pid-namespace"


def test_a_child_sees_its_namespace_only(agent: Agent) -> None:
    script = "echo $$; cd /proc; echo [0-9]*; cut -d' ' -f5,6 /proc/self/stat"
    first, everyone, group = agent("spawn", script=script, lines=3)["lines"]
    assert (everyone, group) == (f"1 {first}", f"{first} {first}")


READ_ONLY = (
    "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && "
    'echo 9 2>/dev/null > /proc/sys/kernel/ns_last_pid || exec "$@"'
)


@pytest.mark.parametrize("wrapper", [(), ("unshare", "-m", "/bin/sh", "-c", READ_ONLY, "-")])
@pytest.mark.skipif(not cgroup_root(), reason="needs to be root")
def test_a_pid_file_of_an_earlier_life_does_not_name_the_next_one(
    sandbox: Sandbox, wrapper: tuple[str, ...]
) -> None:
    """By chance it may, but not each time; in containers too, where /proc/sys is read-only."""
    with open_agent(sandbox, "root", wrapper=wrapper, isolation="pid") as agent:
        numbers = {agent("spawn", script="echo $$", lines=1)["lines"][0] for _ in range(8)}
    assert len(numbers) > 1


def test_its_pid_is_the_one_that_the_agent_sees(agent: Agent, sandbox: Sandbox) -> None:
    pid = sandbox.pid(agent("spawn", script="echo; sleep 1000; :", lines=1)["pid"])
    assert b"sleep 1000" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_nothing_survives_agent_zygote_and_all_shims(agent: Agent, sandbox: Sandbox) -> None:
    kill_all_of_the_guard(agent, start_all(agent))
    assert sandbox.wait_empty(20) < 20


def test_without_it_daemons_survive_that(start: StartAgent, sandbox: Sandbox) -> None:
    """The limit that makes it worth its price."""
    agent = start()
    kill_all_of_the_guard(agent, start_all(agent))
    with pytest.raises(AssertionError, match="left after"):
        sandbox.wait_empty(0.2)


def kill_all_of_the_guard(agent: Agent, pids: dict[str, int]) -> None:
    sandbox = agent.sandbox
    guard = {pid for pid in sandbox.pids() if is_guard(pid)}
    assert len(guard) >= 1 + len(pids)
    for pid in guard:  # the agent last, so that nobody has time
        os.kill(pid, signal.SIGSTOP)
    os.kill(agent.pid, signal.SIGSTOP)
    for pid in (*guard, agent.pid):
        with contextlib.suppress(ProcessLookupError):  # the first one may take others along
            os.kill(pid, signal.SIGKILL)


def test_delete_ends_one_and_no_other(agent: Agent, sandbox: Sandbox) -> None:
    start_all(agent)
    before = agent.apps()
    start_all(agent)
    for child in range(len(EVASIVE), 2 * len(EVASIVE)):
        agent("delete", child=child, patience=0.1)
    assert agent.apps() == before


def test_terminate_reaches_the_app_and_its_exit_comes_back(agent: Agent) -> None:
    script = "trap 'exit 3' TERM; setsid sleep 1000 & echo; wait"
    agent("spawn", script=script, lines=1)
    agent("delete", child=0)
    assert agent("wait", child=0) == {"code": 3, "signal": None}


def test_exits_come_back_as_themselves(agent: Agent, sandbox: Sandbox) -> None:
    assert agent("cycle", script="exit 7", count=20) == ["exit code 7"]
    assert agent("cycle", script="kill -USR1 $$", count=5) == ["SIGUSR1"]
    assert agent.apps() == set()


def test_an_exec_error_comes_back_as_itself(agent: Agent) -> None:
    expected = {"error": "cannot start '/missing': No such file or directory"}
    assert agent("start", argv=["/missing"]) == expected


def test_what_the_kernel_refuses_is_refused_at_start() -> None:
    refuse = 'echo 0 > /proc/sys/user/max_pid_namespaces && exec "$@"'
    wrapper = ["unshare", "-Ur", "/bin/sh", "-c", refuse, "-"]
    holder = str(Path(__file__).with_name("spawner_program.py"))
    argv = [*wrapper, sys.executable, holder, json.dumps({"isolation": "pid"})]
    process = subprocess.run(argv, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    assert process.returncode == 1
    assert process.stdout == b""
    assert (
        process.stderr.decode()
        .splitlines()[-1]
        .endswith(
            "StartError: no pid-namespace containment: "
            "cannot start '/bin/sh' in a PID namespace: No space left on device"
        )
    )

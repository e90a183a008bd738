"""A delegated cgroup: each child in one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agent import shell_app
from tests.e2e.agents import NOBODY, Agent, as_user, open_agent, users
from tests.e2e.sandbox import CgroupSandbox, cgroup_root
from tests.e2e.served_agent import open_archive, open_command
from tests.e2e.test_isolation import kill_all_of_the_guard

ROOT = cgroup_root()

pytestmark = [
    pytest.mark.skipif(not ROOT, reason="needs to be root with cgroup v2"),
    pytest.mark.slow,
]

DAEMON = "setsid sleep 1000 & echo; exec sleep 1000"

ENTER = ["/bin/sh", "-c", 'echo 0 > "$0" && exec "$@"']
"""Before the cgroup.procs of a directory and a command: start it in there."""

StartAgent = Callable[..., Agent]


@pytest.fixture
def sandbox() -> Iterator[CgroupSandbox]:
    assert ROOT
    with contextlib.closing(CgroupSandbox(ROOT)) as sandbox:
        yield sandbox


@pytest.fixture(params=users())
def directory(request: pytest.FixtureRequest, sandbox: CgroupSandbox) -> Path:
    """A directory that is delegated to the user, cgroups(7)."""
    directory = sandbox.directory / f"delegated-to-{request.param}"
    directory.mkdir()
    if request.param == "ordinary":
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            shutil.chown(directory / name, NOBODY, NOBODY)
    return directory


@pytest.fixture
def start(sandbox: CgroupSandbox, directory: Path) -> Iterator[StartAgent]:
    """Starts an agent in there, as systemd does."""
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> Agent:
            wrapper = [*ENTER, str(directory / "cgroup.procs")]
            user = user_of(directory)
            return stack.enter_context(
                open_agent(sandbox, user, wrapper=wrapper, cgroup=str(directory), **options)
            )

        yield start


def user_of(directory: Path) -> str:
    return directory.name.rpartition("-")[2]


def apps(directory: Path) -> list[Path]:
    return sorted(directory.glob("app-*"))


def test_the_level_is_told(start: StartAgent) -> None:
    assert start()("containment") == "cgroup"


def test_a_child_is_in_its_own_from_its_first_instruction(
    start: StartAgent, directory: Path
) -> None:
    """Told by the program itself, without a shell before it; a writer of pids would come too late.

    Only the last of several is there when it is looked for.
    """
    agent = start()
    groups = []
    for child in range(5):
        told = agent("start", argv=["/bin/cat", "/proc/self/cgroup"], lines=99)
        agent("wait", child=child)
        (line,) = (line for line in told if line.startswith("0::"))
        groups.append(line.rpartition(f"/{directory.name}/")[2])
    # The first one was for the proof of the level.
    assert groups == [f"app-{agent.pid}-{number}" for number in range(2, 7)]
    assert str(agent.pid) in (directory / "agent" / "cgroup.procs").read_text().split()


def test_delete_removes_it(start: StartAgent, directory: Path) -> None:
    agent = start()
    agent("spawn", script=DAEMON, lines=1)
    agent("spawn", script=DAEMON, lines=1)
    agent("delete", child=0, patience=0.1)
    assert len(apps(directory)) == 1


def test_delete_ends_also_who_came_from_elsewhere(start: StartAgent, directory: Path) -> None:
    """Such as what `nsenter` brings in: in the cgroup, and nobody's child there."""
    agent = start()
    agent("spawn", script=DAEMON, lines=1)
    (app,) = apps(directory)
    argv = [*ENTER, str(app / "cgroup.procs"), "/bin/sh", "-c", "echo; exec cat"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdin
        assert stranger.stdout
        stranger.stdout.readline()
        agent("delete", child=0, patience=0.1)
        stranger.stdin.close()  # so it ends in any case
        assert stranger.wait() == -signal.SIGKILL
    agent("cycle", script="exit 0", count=1)
    assert apps(directory) == []


SUB = """
cgroup=$(grep ^0:: /proc/self/cgroup | cut -d: -f3)
root=$(grep " cgroup2 " /proc/mounts | head -n1 | cut -d" " -f2)
mkdir -p "$root$cgroup/one/two" && echo made; exec sleep 1000
"""


def test_delete_removes_what_an_app_has_made_below_its_own(
    start: StartAgent, directory: Path
) -> None:
    agent = start()
    spawned = agent("spawn", script=SUB, lines=1)
    assert spawned["lines"] == ["made"]
    assert len(list(directory.rglob("two"))) == 1
    agent("delete", child=0)
    assert apps(directory) == []


def test_nothing_survives_the_agent(start: StartAgent, sandbox: CgroupSandbox) -> None:
    agent = start()
    agent("spawn", script=DAEMON, lines=1)
    agent.kill()
    assert sandbox.wait_empty(20) < 20


def test_a_killed_shim_leaves_none(start: StartAgent, directory: Path) -> None:
    agent = start()
    pid = agent("spawn", script=DAEMON, lines=1)["pid"]
    os.kill(agent.shim(pid), signal.SIGKILL)
    agent("wait", child=0)
    agent("cycle", script="exit 0", count=1)
    assert apps(directory) == []


def test_what_a_killed_agent_left_is_cleared_at_the_next_start(
    start: StartAgent, directory: Path
) -> None:
    agent = start()
    pid = agent("spawn", script=DAEMON, lines=1)["pid"]
    kill_all_of_the_guard(agent, {"app": pid})
    (stale,) = apps(directory)
    assert (stale / "cgroup.procs").read_text() != ""
    start()
    assert not stale.exists()


def test_a_second_agent_is_refused(start: StartAgent, directory: Path) -> None:
    start()
    assert refusal(directory) == f"cannot use cgroup {directory}: another agent uses it"


def test_what_systemd_delegates_is_used_unasked(sandbox: CgroupSandbox, directory: Path) -> None:
    """It marks the cgroup of a unit with `Delegate=yes`, and starts the command in there.

    So this plays systemd's part: nothing here is started by systemd itself.
    """
    os.setxattr(directory, "user.delegate", b"1")
    wrapper = [*ENTER, str(directory / "cgroup.procs"), *as_user(user_of(directory))]
    with (
        open_archive(shell_app("setsid sleep 1000 & exec sleep 1000")) as source,
        open_command(sandbox, wrapper=wrapper) as agent,
    ):
        slug = agent.create(source)
        assert agent.ask(f"/process-status/{slug}")["containment"] == "cgroup"
        assert len(apps(directory)) == 1
        agent.ask(f"/delete-process/{slug}", {})
        assert apps(directory) == []


def test_the_kernel_bounds_the_processes_of_each(start: StartAgent, directory: Path) -> None:
    if "pids" not in (directory / "cgroup.controllers").read_text().split():
        pytest.skip("needs the pids controller in cgroup v2")
    agent = start(max_processes=20)
    bomb = str(Path(__file__).with_name("fork_bomb.py"))
    agent("spawn", script=f"exec {sys.executable} -ISE {bomb} 1000", lines=1)
    (app,) = apps(directory)
    assert (app / "pids.max").read_text() == "20\n"
    assert len(agent.apps()) == 20
    agent("kill", child=0)
    assert agent.apps() == set()


def test_what_is_no_cgroup_is_refused(tmp_path: Path) -> None:
    expected = f"cannot use cgroup {tmp_path}: expected a directory of cgroup v2"
    assert refusal(tmp_path) == expected
    missing = tmp_path / "missing"
    assert refusal(missing) == f"cannot use cgroup {missing}: No such file or directory"


def refusal(directory: Path) -> str:
    """Why an agent does not start there."""
    holder = str(Path(__file__).with_name("spawner_program.py"))
    argv = [sys.executable, holder, json.dumps({"cgroup": str(directory)})]
    process = subprocess.run(argv, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    assert process.returncode == 1
    return process.stderr.decode().splitlines()[-1].partition("StartError: ")[2]

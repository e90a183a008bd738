"""What the guard is good for, seen from outside of the command."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from smartmob_agent.child.guard.kernel import children, look
from tests.e2e.agent import LIMIT, alive, archive_server, running_agent, shell_app
from tests.e2e.agents import NOBODY, as_user, is_guard
from tests.e2e.sandbox import cgroup_root, open_sandbox
from tests.e2e.served_agent import ask, open_archive, open_command
from tests.e2e.test_deploy import setting

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper (prctl(2))"),
    pytest.mark.slow,
]

SLEEPER = "setsid sleep 1000 &\nexec sleep 1000\n"


def parent(pid: int) -> int:
    process = look(pid)
    assert process is not None
    return process.parent


async def test_a_killed_shim_restarts_its_process_and_no_other() -> None:
    async with archive_server() as archives, running_agent() as agent:
        source = archives.add("app.tar.gz", shell_app(SLEEPER))
        for app in ("one", "other"):
            await agent.create(source, app)
        one = await agent.wait_state("one.web.0", "running")
        other = await agent.wait_state("other.web.0", "running")
        seen = len(agent.events)
        os.kill(parent(one["pid"]), signal.SIGKILL)
        await agent.wait_event(after=seen, event="state", slug="one.web.0", state="running")
        after = await agent.status("one.web.0")
        assert (after["restarts"], after["exit"]) == (1, {"signal": "SIGKILL"})
        assert not alive(one["pid"])
        assert (await agent.status("other.web.0"))["pid"] == other["pid"]
        zygote = parent(parent(after["pid"]))
        apps = [app for shim in children(zygote) for app in children(shim) if not is_guard(app)]
        assert sorted(apps) == sorted([after["pid"], other["pid"]])


async def test_a_killed_zygote_is_replaced_and_processes_live() -> None:
    async with archive_server() as archives, running_agent() as agent:
        source = archives.add("app.tar.gz", shell_app(SLEEPER))
        await agent.create(source, "one")
        one = await agent.wait_state("one.web.0", "running")
        os.kill(parent(parent(one["pid"])), signal.SIGKILL)
        await agent.create(source, "other")
        await agent.wait_state("other.web.0", "running")
        after = await agent.status("one.web.0")
        assert (after["state"], after["pid"]) == ("running", one["pid"])


def test_an_ordinary_users_agent_gives_no_privileges() -> None:
    user = os.geteuid() or NOBODY
    with (
        open_archive(shell_app(SLEEPER)) as source,
        open_sandbox() as sandbox,
        open_command(sandbox, wrapper=as_user("ordinary")) as agent,
    ):
        slug = agent.create(source)
        pid = sandbox.pid(agent.ask(f"/process-status/{slug}")["pid"])
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    assert {"NoNewPrivs:\t1", "Uid:" + f"\t{user}" * 4} <= set(status)


MANY = 350
"""Processes: more than 1024 descriptors of the agent, and a thousand tasks with their guards."""


def test_hundreds_of_apps_run_under_the_limits_that_a_user_is_given() -> None:
    """A stock Debian: 1024 open files, of many more on request, and no cgroup of one's own."""
    hard = min(1_048_576, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    wrapper = ["prlimit", f"--nofile=1024:{hard}", *as_user("ordinary")]
    order = {"app": "app", "process_type": "web", "ready": {"log": "up"}, "port": "none"}
    with (
        open_archive(shell_app("sleep 1000 & echo up; wait")) as source,
        open_sandbox() as sandbox,
        open_command(sandbox, "--max-start-rate=0", wrapper=wrapper) as agent,
        contextlib.closing(agent.connect()) as connection,
    ):
        for number in range(MANY):
            document = {**order, "node": f"n{number}", "source_url": source}
            ask(connection, "/create-process", document)
        end = time.monotonic() + 6 * LIMIT
        found = ask(connection, "/list-processes")["processes"]
        while not all(process["ready"] or process["failures"] for process in found):
            assert time.monotonic() < end, {process["state"] for process in found}
            found = ask(connection, "/list-processes")["processes"]
        pid = sandbox.pid(found[0]["pid"])
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    assert [(process["failures"], process["error"]) for process in found] == [(0, None)] * MANY
    (line,) = (line.split() for line in limits if line.startswith("Max open files"))
    assert line[3:5] == ["1024", str(hard)]


@pytest.fixture
def limited() -> list[str]:
    """What to put before a command: a user of whom 100 processes may be, and none is."""
    if not cgroup_root():
        pytest.skip("needs to be root")
    user = [word.replace(str(NOBODY), "54321") for word in as_user("ordinary")]
    return ["prlimit", "--nproc=100:100", *user]


def test_the_default_is_within_the_hard_limit(limited: list[str]) -> None:
    with (
        open_archive(shell_app(SLEEPER)) as source,
        open_sandbox() as sandbox,
        open_command(sandbox, wrapper=limited) as agent,
    ):
        pid = agent.ask(f"/process-status/{agent.create(source)}")["pid"]
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (line,) = (line.split() for line in limits if line.startswith("Max processes"))
    assert line[2:4] == ["100", "100"]


def test_an_app_that_fails_at_the_limit_of_its_user_is_told_so(limited: list[str]) -> None:
    """Limit and option are in its status, whatever it says itself."""
    script = "i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i + 1)); done; sleep 1000"
    with (
        open_archive(shell_app(f"({script}) || {{ sleep 3; exit 1; }}")) as source,
        open_sandbox() as sandbox,
        open_command(sandbox, wrapper=limited) as agent,
    ):
        slug = agent.create(source)
        agent.wait_event(event="state", slug=slug, state="backoff")
        error = agent.ask(f"/process-status/{slug}")["error"]
    assert "of at most 100 (RLIMIT_NPROC; see --max-user-processes)" in error


def test_more_processes_than_the_hard_limit_are_refused(limited: list[str]) -> None:
    command = [sys.executable, "-m", "smartmob_agent", "--port=0", "--max-processes=101"]
    argv = [*limited, *command]
    process = subprocess.run(argv, check=False, capture_output=True, timeout=LIMIT)
    expected = "cannot allow 101 processes: the hard limit of this user is 100 (ulimit -Hu)"
    assert expected in process.stderr.decode()
    assert process.returncode == 1


@pytest.mark.skipif(not cgroup_root(), reason="needs to be root")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_as_first_process_it_stops_by_signals(signum: signal.Signals, tmp_path: Path) -> None:
    """Started as the container file does it, but for its paths, in a network of its own."""
    token_file = tmp_path / "tokens"
    token_file.write_text("0123456789abcdef0123456789abcdef\n")
    token_file.chmod(0o600)
    here = [
        f"--work-dir={tmp_path / 'work'}",
        f"--state-dir={tmp_path / 'state'}",
        f"--token-file={token_file}",
    ]
    names = [option.partition("=")[0] for option in here]
    options = json.loads(setting("Containerfile", "CMD", " "))
    assert sorted(names) == sorted(o.partition("=")[0] for o in options if "/" in o)
    there = [option for option in options if "/" not in option]
    command = [sys.executable, "-m", "smartmob_agent", *there, *here]
    argv = ["unshare", "-pfn", "--mount-proc", *command]
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            run = partial(trio.run_process, argv, stderr=subprocess.PIPE, check=False)
            process: trio.Process = await nursery.start(run)
            assert process.stderr is not None
            data = b""
            while b"event=bind" not in data:
                data += await process.stderr.receive_some()
            (inside,) = children(process.pid)
            os.kill(inside, signum)
            assert await process.wait() == 0
            await process.stderr.aclose()

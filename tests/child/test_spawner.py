"""The real spawner, where it does more than the contract says."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from smartmob_agent.child import handle, spawner as spawner_module, zygote_client
from smartmob_agent.child.cgroup import Cgroups
from smartmob_agent.child.guard.kernel import children, look
from smartmob_agent.child.handle import GuardedChild
from smartmob_agent.child.seam import Command, Exit
from smartmob_agent.child.spawner import GuardedSpawner, open_spawner
from smartmob_agent.errors import SpawnError, StartError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper and /proc")

LIMIT = 20.0
SLEEP = "sleep 1000"


@pytest.fixture
async def spawner() -> AsyncIterator[GuardedSpawner]:
    with trio.fail_after(LIMIT):
        async with open_spawner() as spawner:
            yield spawner


def shell(script: str, *, cwd: Path = Path("/")) -> Command:
    return Command(argv=("/bin/sh", "-c", script), env={"PATH": os.environ["PATH"]}, cwd=cwd)


async def read(stream: trio.abc.ReceiveStream) -> str:
    """All that is written to the stream until it ends."""
    async with stream:
        return b"".join([data async for data in stream]).decode()


async def read_line(stream: trio.abc.ReceiveStream) -> str:
    data = b""
    while not data.endswith(b"\n"):
        data += await stream.receive_some(1)
    return data.decode().strip()


def parent(pid: int) -> int:
    process = look(pid)
    assert process is not None
    return process.parent


async def wait_gone(pid: int) -> None:
    """Wait for the end of a process that need not be a child of ours."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def is_guard(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"/guard/zygote.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


async def wait_gone_in_time(pid: int) -> None:
    with trio.fail_after(LIMIT):
        await wait_gone(pid)


# What a child is given


async def test_a_child_leads_a_session_of_its_own(spawner: GuardedSpawner) -> None:
    child = await spawner.spawn(shell("cut -d' ' -f1,5,6 /proc/$$/stat"))
    assert await read(child.stdout) == f"{child.pid} {child.pid} {child.pid}\n"


async def test_a_child_sees_three_descriptors_and_null_as_input(
    spawner: GuardedSpawner,
) -> None:
    script = "import os; print(sorted(os.listdir('/proc/self/fd')), os.readlink('/proc/self/fd/0'))"
    argv = (sys.executable, "-ISE", "-c", script)
    child = await spawner.spawn(Command(argv=argv, env={}, cwd=Path("/")))
    # 3 is the directory that is being listed.
    assert await read(child.stdout) == "['0', '1', '2', '3'] /dev/null\n"


async def test_a_child_has_default_signals_and_none_blocked(spawner: GuardedSpawner) -> None:
    child = await spawner.spawn(shell("grep -E 'Sig(Blk|Ign)' /proc/self/status"))
    _, blocked, _, ignored = (await read(child.stdout)).split()
    # The C library keeps 32 and 33 for itself (nptl(7)): who ignores them cannot be helped.
    own = 0b11 << 31
    assert (int(blocked, 16), int(ignored, 16) & ~own) == (0, 0)


async def test_a_child_has_the_environment_and_directory_it_was_given(
    spawner: GuardedSpawner, tmp_path: Path
) -> None:
    command = Command(argv=("env",), env={"PATH": "/usr/bin:/bin", "X": "é\n"}, cwd=tmp_path)
    child = await spawner.spawn(command)
    assert await read(child.stdout) == "PATH=/usr/bin:/bin\nX=é\n\n"
    child = await spawner.spawn(shell("pwd -P", cwd=tmp_path))
    assert await read(child.stdout) == f"{tmp_path}\n"


@pytest.mark.parametrize("options", [{}, {"isolation": "pid"}])
async def test_a_signal_reaches_the_group_of_a_child(options: Any) -> None:
    script = "trap 'echo hup; exit 3' HUP; echo ready; sleep 1000 & wait"
    with trio.fail_after(LIMIT):
        async with open_spawner(**options) as spawner:
            child = await spawner.spawn(shell(script))
            assert await read_line(child.stdout) == "ready"
            child.send_signal(signal.SIGHUP)
            assert await read(child.stdout) == "hup\n"
            assert await child.wait() == Exit(code=3)


HANDLES_HUP = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # None is missed before it is waited for.
print("ready", file=sys.stderr, flush=True)
while signal.sigwait({signal.SIGHUP}):
    print("told", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("options", [{}, {"isolation": "pid"}])
@pytest.mark.parametrize("line", ["{0} | {0}", "if {0} | {0}; then :; fi", "({0} | {0}; :)"])
async def test_a_shell_that_waits_for_its_commands_does_not_die_of_their_signals(
    options: Any, line: str, tmp_path: Path
) -> None:
    """Each member of the pipe gets the signal, and goes on if it has a handler."""
    (tmp_path / "app").write_text(HANDLES_HUP)
    script = line.format(f"{sys.executable} -ISE {tmp_path / 'app'}")
    with trio.fail_after(LIMIT):
        async with open_spawner(**options) as spawner:
            child = await spawner.spawn(shell(script))
            for expected in ("ready", "told", "told"):
                assert [await read_line(child.stderr) for _ in range(2)] == [expected] * 2
                child.send_signal(signal.SIGHUP)
            child.kill()
            assert (await child.wait()).signal == signal.SIGKILL


async def test_a_relative_directory_is_the_agents(
    spawner: GuardedSpawner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app").mkdir()
    monkeypatch.chdir(tmp_path)
    child = await spawner.spawn(shell("pwd -P", cwd=Path("app")))
    assert await read(child.stdout) == f"{tmp_path / 'app'}\n"


async def test_an_environment_of_a_megabyte_arrives(spawner: GuardedSpawner) -> None:
    env = {f"X{i}": "x" * 100_000 for i in range(10)}
    command = Command(argv=("/usr/bin/env",), env=env, cwd=Path("/"))
    child = await spawner.spawn(command)
    assert len(await read(child.stdout)) == sum(len(f"{k}={v}\n") for k, v in env.items())


# What is terminated

LATE = """
import os, signal, time
ready, told = os.pipe()
if not os.fork():
    if not os.fork():
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.1), os._exit(0)))
        os.read(ready, 1)
        print("ready", flush=True)
        while True:
            signal.pause()
    os.setsid()
    os.write(told, b".")
signal.pause()
"""


async def test_a_member_whose_parent_left_the_group_is_waited_for(
    spawner: GuardedSpawner,
) -> None:
    """Its parent, in a session of its own, is told of its end, and nobody else."""
    argv = (sys.executable, "-ISE", "-c", LATE)
    child = await spawner.spawn(Command(argv=argv, env={}, cwd=Path("/")))
    assert await read_line(child.stdout) == "ready"
    start = trio.current_time()
    child.terminate()
    await child.wait_empty()
    assert 0.1 < trio.current_time() - start < LIMIT


async def test_a_member_that_leaves_the_group_is_not_waited_for(
    spawner: GuardedSpawner,
) -> None:
    script = "trap '' TERM; (sleep 0.1; exec setsid sleep 1000) & trap 'exit 3' TERM; echo; wait"
    child = await spawner.spawn(shell(f"{script}; wait"))
    assert await read_line(child.stdout) == ""
    child.terminate()
    await child.wait_empty()
    assert await child.wait() == Exit(code=3)


# What cannot be started


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("#!/missing/interpreter\n", 0o755, "the interpreter it names is missing"),
        ("no program\n", 0o755, "Exec format error"),
    ],
)
async def test_an_exec_error_comes_back_as_itself(
    spawner: GuardedSpawner, tmp_path: Path, content: str, mode: int, reason: str
) -> None:
    program = tmp_path / "program"
    program.write_text(content)
    program.chmod(mode)
    with pytest.raises(SpawnError) as caught:
        await spawner.spawn(Command(argv=(str(program),), env={}, cwd=tmp_path))
    assert str(caught.value) == f"cannot start {str(program)!r}: {reason}"


async def test_a_missing_directory_is_named(spawner: GuardedSpawner, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(SpawnError) as caught:
        await spawner.spawn(shell("true", cwd=missing))
    expected = f"cannot start '/bin/sh' in {str(missing)!r}: No such file or directory"
    assert str(caught.value) == expected


async def test_a_nul_in_an_argument_is_an_error(spawner: GuardedSpawner) -> None:
    with pytest.raises(SpawnError, match="Invalid argument"):
        await spawner.spawn(shell("echo \0"))


async def test_without_descriptors_left_a_spawn_fails_and_loses_none(
    spawner: GuardedSpawner,
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = count_fds()
    failures = []
    for more in range(12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + more, limits[1]))
        try:
            child = await spawner.spawn(shell("true"))
        except SpawnError as exc:
            failures.append(str(exc))
        else:
            await child.wait_empty()
            child.close_pipes()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert count_fds() == before
    assert len(failures) >= 3
    hint = "(ulimit -Hn, LimitNOFILE= of systemd)"
    assert set(failures) == {f"cannot start '/bin/sh': Too many open files {hint}"}


@pytest.fixture
def cat() -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends when its input does."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process


async def test_without_descriptors_left_the_end_of_a_program_is_noticed(
    cat: subprocess.Popen[bytes],
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count_fds() - 1, limits[1]))
            nursery.start_soon(zygote_client._wait_ended, cat)
            await wait_all_tasks_blocked()
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert cat.stdin
            cat.stdin.close()
    assert cat.returncode == 0


async def test_a_spawner_that_fails_lets_nobody_wait_for_ever() -> None:
    """Who waits for the end of a tree is shielded: see `ManagedProcess`."""

    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(pytest.RaisesGroup(ZeroDivisionError)):
        async with open_spawner() as spawner:
            child = await spawner.spawn(shell(SLEEP))
            spawner._nursery.start_soon(fail)
            with trio.move_on_after(LIMIT, shield=True) as patience:
                await child.wait_settled()
    assert not patience.cancelled_caught
    with trio.fail_after(LIMIT):
        await wait_gone(child.pid)
    with pytest.raises(SpawnError, match="the agent is stopping"):
        await spawner.spawn(shell("true"))


def count_fds() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  each look costs the same


# When parts of the guard are killed


async def test_a_killed_shim_takes_its_tree_and_no_other(spawner: GuardedSpawner) -> None:
    child = await spawner.spawn(shell(f"setsid {SLEEP} & echo $!; {SLEEP}"))
    other = await spawner.spawn(shell(SLEEP))
    daemon = int(await read_line(child.stdout))
    os.kill(parent(child.pid), signal.SIGKILL)
    assert await child.wait() == Exit(signal=signal.SIGKILL)
    await child.wait_empty()
    assert look(daemon) is None
    assert look(other.pid) is not None


async def test_an_app_that_is_killed_before_it_is_one_is_made_again(
    spawner: GuardedSpawner,
) -> None:
    """One waits in store; whoever kills it, nobody hears of it."""
    child = await spawner.spawn(shell(SLEEP))
    guard = parent(parent(child.pid))
    waiting: list[int] = []
    while not waiting:
        await trio.lowlevel.checkpoint()
        waiting = [app for shim in children(guard) for app in children(shim) if app != child.pid]
    os.kill(waiting[0], signal.SIGKILL)
    await wait_gone(waiting[0])
    second = await spawner.spawn(shell("exit 7"))
    assert await second.wait() == Exit(code=7)


async def test_a_killed_zygote_is_replaced_and_its_children_live(
    spawner: GuardedSpawner, caplog: pytest.LogCaptureFixture
) -> None:
    child = await spawner.spawn(shell("read x; echo alive; sleep 1000"))
    guard = parent(parent(child.pid))
    os.kill(guard, signal.SIGKILL)
    second = await spawner.spawn(shell("exit 7"))
    assert await second.wait() == Exit(code=7)
    assert await read_line(child.stdout) == "alive"
    child.kill()
    await child.wait_empty()
    assert [record.message for record in caplog.records] == ["guard ended"]


async def shim_without_zygote(child: GuardedChild) -> int:
    """Kill the zygote above the shim of a child; return the number of the shim."""
    shim = parent(child.pid)
    zygote = parent(shim)
    os.kill(zygote, signal.SIGKILL)
    await wait_gone(zygote)
    return shim


async def test_a_shim_killed_after_its_zygote_ends_its_child(spawner: GuardedSpawner) -> None:
    """Its child alone: what that has started would stay."""
    child = await spawner.spawn(shell(f"exec {SLEEP}"))
    shim = await shim_without_zygote(child)
    os.kill(shim, signal.SIGKILL)
    assert await child.wait() == Exit(signal=signal.SIGKILL)
    await child.wait_settled()


async def test_a_guard_that_cannot_start_is_a_start_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/missing/python")
    with pytest.raises(StartError, match="cannot start the guard: No such file or directory"):
        async with open_spawner():
            raise AssertionError
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StartError, match="the guard ended as it started, with status 1"):
        async with open_spawner():
            raise AssertionError


async def test_a_guard_that_cannot_be_replaced_is_a_spawn_error(
    spawner: GuardedSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await spawner.spawn(shell(SLEEP))
    guard = parent(parent(child.pid))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    os.kill(guard, signal.SIGKILL)
    with pytest.raises(SpawnError, match="the guard ended as it started"):
        await spawner.spawn(shell("true"))


@pytest.mark.parametrize("size", [1, 10_000_000])
async def test_a_guard_that_does_not_answer_is_replaced(
    spawner: GuardedSpawner, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Whether it takes what it is asked for and does nothing, or not even takes it."""
    child = await spawner.spawn(shell("read x; echo alive; sleep 1000"))
    guard = parent(parent(child.pid))
    os.kill(guard, signal.SIGSTOP)
    errors = []

    async def fail() -> None:
        with pytest.raises(SpawnError) as caught:
            await spawner.spawn(Command(argv=("/bin/true", "x" * size), env={}, cwd=Path("/")))
        errors.append(str(caught.value))

    with monkeypatch.context() as patch:
        patch.setattr(spawner_module, "_START_TIMEOUT", 0.05)
        patch.setattr(handle, "_SHIM_TIMEOUT", 0.05)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(fail)
    assert errors == ["cannot start '/bin/true': no answer in 0 s"] * 2
    assert await (await spawner.spawn(shell("exit 7"))).wait() == Exit(code=7)
    assert look(guard) is None
    assert await read_line(child.stdout) == "alive"


async def test_a_guard_that_hangs_as_it_starts_is_replaced(
    spawner: GuardedSpawner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hanging = tmp_path / "guard.py"
    hanging.write_text("import os; os.read(os.eventfd(0), 8)")
    child = await spawner.spawn(shell(SLEEP))
    with monkeypatch.context() as patch:
        patch.setattr(zygote_client, "_GUARD", hanging)
        patch.setattr(spawner_module, "_START_TIMEOUT", 0.05)
        guard = parent(parent(child.pid))
        os.kill(guard, signal.SIGKILL)
        await wait_gone(guard)
        with pytest.raises(SpawnError, match="no answer in 0 s"):
            await spawner.spawn(shell("true"))
    assert await (await spawner.spawn(shell("exit 7"))).wait() == Exit(code=7)


async def test_a_stopped_guard_does_not_outlive_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawner_module, "_END_TIMEOUT", 0.05)
    with trio.fail_after(LIMIT):
        async with open_spawner() as spawner:
            child = await spawner.spawn(shell(SLEEP))
            guard = parent(parent(child.pid))
            os.kill(guard, signal.SIGSTOP)
    assert look(guard) is None


async def test_a_stopped_guard_tells_of_a_shim_that_was_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the child counts as stuck, and its guard is left to see to it, stopped for ever."""
    monkeypatch.setattr(handle, "_SHIM_TIMEOUT", 0.05)
    with trio.fail_after(LIMIT):
        async with open_spawner() as spawner:
            child = await spawner.spawn(shell(f"exec {SLEEP}"))
            shim = parent(child.pid)
            guard = parent(shim)
            os.kill(guard, signal.SIGSTOP)
            os.kill(shim, signal.SIGKILL)
            assert await child.wait() == Exit(signal=signal.SIGKILL)
            await child.wait_empty()
        await wait_gone(guard)
    assert look(child.pid) is None


async def test_a_stopped_guard_does_not_outlive_a_child_that_is_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here it only seems so, since nobody waits for what the guard has to say."""
    monkeypatch.setattr(handle, "_SHIM_TIMEOUT", 0.0)
    with trio.fail_after(LIMIT):
        async with open_spawner() as spawner:
            child = await spawner.spawn(shell(f"exec {SLEEP}"))
            guard = parent(parent(child.pid))
            os.kill(parent(child.pid), signal.SIGSTOP)
            os.kill(guard, signal.SIGSTOP)
        await wait_gone(guard)
    await wait_gone(child.pid)


def test_a_stopped_guard_does_not_outlive_an_agent_that_was_killed() -> None:
    """The kernel lets the stopped zygote go on, and that kills the stopped shim."""
    script = """
import sys, trio
from pathlib import Path
from smartmob_agent.child.seam import Command
from smartmob_agent.child.spawner import open_spawner

async def main():
    async with open_spawner() as spawner:
        argv = ("/bin/sh", "-c", "exec sleep 1000")
        child = await spawner.spawn(Command(argv=argv, env={"PATH": sys.argv[1]}, cwd=Path("/")))
        print(child.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""
    command = [sys.executable, "-c", script, os.environ["PATH"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        child = int(agent.stdout.readline())
        shim = parent(child)
        guard = parent(shim)
        for pid in (shim, guard):
            os.kill(pid, signal.SIGSTOP)
        agent.kill()
    try:
        for pid in (guard, shim, child):
            trio.run(wait_gone_in_time, pid)
    finally:
        for pid in (guard, shim):
            if is_guard(pid):
                os.kill(pid, signal.SIGKILL)


async def test_a_stopped_shim_is_killed_without_its_zygote_too(
    spawner: GuardedSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await spawner.spawn(shell(f"exec {SLEEP}"))
    shim = await shim_without_zygote(child)
    os.kill(shim, signal.SIGSTOP)
    monkeypatch.setattr(handle, "_SHIM_TIMEOUT", 0.05)
    child.kill()
    with trio.fail_after(LIMIT):
        await child.wait_empty()
    assert await child.wait() == Exit(signal=signal.SIGKILL)
    await wait_gone(child.pid)


async def test_a_stopped_shim_is_killed_in_time(
    spawner: GuardedSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await spawner.spawn(shell(f"setsid {SLEEP} & echo $!; {SLEEP}"))
    daemon = int(await read_line(child.stdout))
    monkeypatch.setattr(handle, "_SHIM_TIMEOUT", 0.05)
    os.kill(parent(child.pid), signal.SIGSTOP)
    child.kill()
    assert await child.wait() == Exit(signal=signal.SIGKILL)
    await child.wait_empty()
    assert look(daemon) is None


# Levels


async def test_limits_are_given_to_children() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    expected = [["1000", "1000"], ["60", str(hard)]]
    with trio.fail_after(LIMIT):
        async with open_spawner(max_user_processes=1000, open_files=60) as spawner:
            child = await spawner.spawn(shell("grep -E 'Max (proc|open)' /proc/self/limits"))
            lines = (await read(child.stdout)).splitlines()
            assert [line.split()[-3:-1] for line in lines] == expected
            assert spawner.containment == "tree"


def test_where_cgroups_count_the_user_is_not_bound(tmp_path: Path) -> None:
    """And a child that fails is told whether it has met the bound of its cgroup."""
    spawner = GuardedSpawner(
        max_processes=7, max_user_processes=70, open_files=60, isolation=None, cgroup=tmp_path
    )
    spawner._cgroups = Cgroups(tmp_path, 7)
    spawner._set_limits()
    assert list(spawner._limits) == ["RLIMIT_NOFILE"]
    assert spawner._explain(tmp_path) == ""
    (tmp_path / "pids.events").write_text("max 1\n")
    (tmp_path / "pids.max").write_text("7\n")
    expected = "it has met its limit of 7 processes and threads (--max-processes)"
    assert spawner._explain(tmp_path) == expected


async def test_a_tree_with_too_many_processes_is_killed_and_no_other() -> None:
    """Its exit names the limit and the option; who is within it goes on."""
    script = "i=0; while [ $i -lt {} ]; do sleep 1000 & i=$((i + 1)); done; echo; wait"
    with trio.fail_after(LIMIT):
        async with open_spawner(max_processes=40) as spawner:
            other = await spawner.spawn(shell(script.format(20)))
            assert await read_line(other.stdout) == ""
            child = await spawner.spawn(shell(script.format(60)))
            found = await child.wait()
            await child.wait_empty()
            assert look(other.pid) is not None
    assert found == Exit(signal=signal.SIGKILL)
    match = re.fullmatch(
        r": its tree had (\d+) processes and threads, of at most 40 (.*)", found.hint
    )
    assert match is not None
    assert (int(match[1]) > 40, match[2]) == (True, "(--max-processes)")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user may be refused a namespace")
async def test_a_child_may_have_a_pid_namespace() -> None:
    with trio.fail_after(LIMIT):
        async with open_spawner(isolation="pid") as spawner:
            assert spawner.containment == "pid-namespace"
            child = await spawner.spawn(shell("echo $$; cd /proc; echo [0-9]*"))
            number, everyone = (await read(child.stdout)).splitlines()
            assert everyone == f"1 {number}"


async def test_a_level_that_cannot_be_had_is_a_start_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing = Command(argv=("/missing",), env={}, cwd=Path("/"))
    monkeypatch.setattr(spawner_module, "_NOTHING", nothing)
    with pytest.raises(StartError, match=r"no pid-namespace containment: cannot start"):
        async with open_spawner(isolation="pid"):
            raise AssertionError


async def test_a_spawner_that_is_refused_has_no_guard_to_end(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="expected a directory of cgroup v2"):
        async with open_spawner(cgroup=tmp_path):
            raise AssertionError


# Leaving


async def test_leaving_kills_all_trees_and_the_guard() -> None:
    with trio.fail_after(LIMIT):
        async with open_spawner() as spawner:
            children = [await spawner.spawn(shell(f"setsid {SLEEP} & {SLEEP}")) for _ in "ab"]
            guard = parent(parent(children[0].pid))
    assert look(guard) is None
    assert [look(child.pid) for child in children] == [None, None]


async def test_leaving_by_cancellation_kills_all_trees_too() -> None:
    with trio.fail_after(LIMIT), trio.CancelScope() as scope:
        async with open_spawner() as spawner:
            child = await spawner.spawn(shell(SLEEP))
            scope.cancel()
    assert look(child.pid) is None


async def test_a_closed_spawner_starts_nothing(tmp_path: Path) -> None:
    async with open_spawner() as spawner:
        pass
    with pytest.raises(SpawnError, match="the agent is stopping"):
        await spawner.spawn(shell("true"))


async def test_two_spawners_in_one_program_are_independent() -> None:
    with trio.fail_after(LIMIT):
        async with open_spawner() as one:
            child = await one.spawn(shell(SLEEP))
            async with open_spawner() as other:
                await other.spawn(shell(SLEEP))
            assert look(child.pid) is not None


@pytest.mark.slow
async def test_a_spawn_cancelled_at_any_moment_leaves_nothing(spawner: GuardedSpawner) -> None:
    """Looked at right when it has returned: what it has started had the time to run."""
    argv = ("/bin/sh", "-c", f"{SLEEP} & exec {SLEEP}")
    command = Command(argv=argv, env={"PATH": os.environ["PATH"]}, cwd=Path("/"))
    left = []
    for moment in range(80):
        child = None
        with trio.move_on_after(moment * 0.00005):
            child = await spawner.spawn(command)
        if child is None:
            left += running(os.getpid())
        else:
            child.kill()
            await child.wait_empty()
            child.close_pipes()
    assert left == []


def running(pid: int) -> list[bytes]:
    """The commands below a process that are not the guard's; what is ending has none."""
    found = []
    for child in children(pid):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(Path(f"/proc/{child}/cmdline").read_bytes())
        found += running(child)
    return [command for command in found if command and b"/guard/zygote.py" not in command]

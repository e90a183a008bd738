"""What this machine says of the test itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from smartmob_agent.metrics.proc import Proc

ME = os.getpid()


def test_a_process_is_described() -> None:
    sum(range(300_000))  # some time
    stat = Proc().stat(ME)
    assert stat is not None
    times = os.times()
    assert stat.parent == os.getppid()
    assert not stat.is_zombie
    assert 0 < stat.cpu_seconds <= times.user + times.system + 0.02
    assert stat.reaped_seconds <= times.children_user + times.children_system + 0.02
    share = Proc().pss_bytes(ME)
    assert share is not None
    assert 1_000_000 < share <= 2 * stat.rss_bytes


def test_descriptors_are_counted() -> None:
    before = Proc().open_fds(ME)
    with Path(os.devnull).open("rb"):
        assert Proc().open_fds(ME) == before + 1 <= len(list(Path("/proc/self/fd").iterdir()))


def test_children_are_listed_and_zombies_told_apart() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE) as child:
        threads = len(list(Path("/proc/self/task").iterdir()))
        assert child.pid in Proc().children(ME, threads)
        assert Proc().parents()[child.pid] == ME
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        stat = Proc().stat(child.pid)
        assert stat is not None
        assert stat.is_zombie
        assert Proc().pss_bytes(child.pid) is None


def test_who_is_not_there_has_nothing(tmp_path: Path) -> None:
    proc, pid = Proc(), 2**22 + 1  # beyond what pid_max can be: proc_sys_kernel(5)
    assert (proc.stat(pid), proc.pss_bytes(pid)) == (None, None)
    assert (proc.children(pid, 1), proc.children(pid, 2)) == ([], [])
    assert (proc.open_fds(pid), proc.cgroup(pid)) == (0, "")
    assert Proc(str(tmp_path / "none")).parents() == {}


def test_the_cgroup_is_that_of_version_2() -> None:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    expected = [line.removeprefix("0::") for line in lines if line.startswith("0::")]
    assert Proc().cgroup(ME) == (expected or [""])[0]

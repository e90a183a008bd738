"""Taking possession of a delegated cgroup; what it is good for is in `tests/e2e`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartmob_agent.child import cgroup
from smartmob_agent.child.cgroup import Cgroups, find_delegated_cgroup, open_cgroups
from smartmob_agent.child.request import SpawnRequest
from smartmob_agent.child.seam import Command, Exit, ResourceLimits
from smartmob_agent.child.spawner import open_spawner
from smartmob_agent.errors import StartError
from tests.e2e.sandbox import cgroup_root

ROOT = cgroup_root()

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="needs pidfds, poll(2) of cgroups, xattr"
)
needs_cgroups = pytest.mark.skipif(not ROOT, reason="needs to be root with cgroup v2")


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty cgroup."""
    assert ROOT
    directory = ROOT / f"smartmob-test-{uuid.uuid4().hex}"
    directory.mkdir()
    yield directory
    for path in directory.iterdir():
        if path.is_dir():
            path.rmdir()
    directory.rmdir()


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """What looks like an empty cgroup, the kernel aside."""
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / "cgroup.subtree_control").write_text("cpu pids")
    return tmp_path


def apps(directory: Path) -> list[Path]:
    return list(directory.glob("app-*"))


@needs_cgroups
async def test_children_are_in_cgroups_of_their_own(directory: Path) -> None:
    async with open_spawner(cgroup=directory) as spawner:
        command = Command(argv=("/bin/sh", "-c", "exit 7"), env={}, cwd=Path("/"))
        child = await spawner.spawn(command)
        assert await child.wait() == Exit(code=7)
        await child.wait_empty()
        child.close_pipes()
        assert spawner.containment == "cgroup"
    assert apps(directory) == []


@needs_cgroups
def test_what_a_killed_agent_left_is_ended(directory: Path) -> None:
    stale = directory / "app-1-1"
    stale.mkdir()
    enter = ["/bin/sh", "-c", 'echo 0 > "$0" && echo && exec sleep 1000']
    argv = [*enter, str(stale / "cgroup.procs")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        with open_cgroups(directory, max_processes=None):
            assert not stale.exists()
        assert process.wait(20) == -9


def test_what_its_shims_remove_meanwhile_is_no_error(fake: Path) -> None:
    """They find the killed agent gone, and the next one may be there before they are done."""
    for number in range(3):
        (fake / f"app-1-{number}").mkdir()  # without a cgroup.events, as if just removed
    with open_cgroups(fake, max_processes=None):
        assert apps(fake) == []


@linux
def test_without_help_of_the_kernel_leftovers_are_killed_until_none_is_left(fake: Path) -> None:
    """Linux before 5.14: who is found later is killed as well."""
    stale = fake / "app-1-1"
    stale.mkdir()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        (stale / "cgroup.procs").write_text(f"{process.pid}\n")
        (stale / "cgroup.events").write_text("populated 1\n")
        cgroup._wait_empty(stale, time.monotonic() + 0.01)
        assert process.stdin
        process.stdin.close()  # so it ends in any case
        assert process.wait() == -9


def test_processes_are_limited_where_the_kernel_counts(
    fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of_them = frozenset(cgroup.CONTROLLERS)  # a file keeps what it is told
    monkeypatch.setattr(cgroup, "_enable_controllers", lambda _: all_of_them)
    with open_cgroups(fake, max_processes=7) as cgroups:
        assert cgroups.limits_processes
        with pytest.raises(OSError, match="No such file"):
            cgroups.enter(SpawnRequest({}))  # no kernel makes a cgroup.procs in there
    (made,) = fake.glob("app-*")
    assert (made / "pids.max").read_text() == "7"


@pytest.mark.parametrize(
    ("controllers", "expected"),
    [
        ((), {}),
        (("cpu",), {"cpu.weight": 50}),
        (("memory",), {"memory.max": 2**20, "memory.oom.group": 1}),
        (("pids",), {"pids.max": 3}),
    ],
)
def test_a_child_may_have_limits_of_its_own(
    tmp_path: Path, controllers: tuple[str, ...], expected: dict[str, int]
) -> None:
    """As far as the kernel sees to them; never more than the agent's."""
    cgroups = Cgroups(tmp_path, 7 if controllers else None, frozenset(controllers))
    limits = ResourceLimits(memory_bytes=2**20, tasks=3, cpu_weight=50)
    with pytest.raises(OSError, match="No such file"):
        cgroups.enter(SpawnRequest({}), limits)
    found = {path.name: int(path.read_text()) for path in tmp_path.glob("app-*/*")}
    assert found == expected


def test_no_limit_where_it_does_not(fake: Path) -> None:
    (fake / "cgroup.subtree_control").unlink()
    (fake / "cgroup.subtree_control").mkdir()
    with (
        pytest.raises(StartError, match=r"cannot use cgroup .*: Is a directory"),
        open_cgroups(fake, max_processes=7),
    ):
        pass


def test_an_agent_in_the_directory_moves_to_a_leaf(
    fake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "_own_cgroup", lambda: fake)
    with open_cgroups(fake, max_processes=None):
        assert (fake / "agent" / "cgroup.procs").read_text() == "0"


def test_one_directory_is_for_one_agent(fake: Path) -> None:
    with (
        open_cgroups(fake, max_processes=None),
        pytest.raises(StartError, match="another agent uses it"),
        open_cgroups(fake, max_processes=None),
    ):
        pass


@pytest.mark.parametrize("name", [".", "missing"])
def test_what_is_no_cgroup_is_refused(tmp_path: Path, name: str) -> None:
    reason = {"missing": "No such file or directory"}.get(name, "expected a directory of cgroup v2")
    with (
        pytest.raises(StartError, match=f"cannot use cgroup .*: {reason}"),
        open_cgroups(tmp_path / name, max_processes=None),
    ):
        pass


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    Cgroups(tmp_path, None).remove(tmp_path / "app-1-1")


@linux
def test_a_cgroup_that_systemd_delegated_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "_own_cgroup", lambda: tmp_path)
    assert find_delegated_cgroup() is None
    try:
        os.setxattr(tmp_path, "user.delegate", b"1")
    except OSError:
        pytest.skip("needs a file system with attributes")
    assert find_delegated_cgroup() == tmp_path


def test_the_own_cgroup_is_where_the_kernel_says() -> None:
    own = cgroup._own_cgroup()
    assert own is None or str(os.getpid()) in (own / "cgroup.procs").read_text().split()


@pytest.mark.parametrize("own", ["", "1:cpu:/\n", "1:cpu:/\n0::/system.slice\n"])
def test_the_own_cgroup_is_below_the_mount_of_cgroup_v2(tmp_path: Path, own: str) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(own)
    (tmp_path / "mounts").write_text("cgroup2 /cg cgroup2 rw 0 0\n")
    expected = Path("/cg/system.slice") if "0::" in own else None
    assert cgroup._own_cgroup(tmp_path) == expected


def test_where_there_is_no_proc_there_is_no_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where Python has no `getxattr()` either."""
    assert cgroup._own_cgroup(tmp_path) is None
    monkeypatch.delattr(os, "getxattr", raising=False)
    assert find_delegated_cgroup() is None


@linux
def test_a_cgroup_that_does_not_get_empty_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    end = time.monotonic() + 0.01
    cgroup._wait_empty(tmp_path, end)
    assert time.monotonic() >= end


PROCESSES = "it has met its limit of {} processes and threads ({})"


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        ({}, ""),
        ({"pids.events": "max 0\n"}, ""),
        (
            {"pids.events": "max 3\n", "pids.max": "7\n"},
            PROCESSES.format(7, "--max-processes"),
        ),
        ({"pids.events": "max 3\n", "pids.max": "5\n"}, PROCESSES.format(5, "limits.tasks")),
        ({"memory.events": "oom 1\noom_kill 0\n", "memory.max": "4096\n"}, ""),
        (
            {"memory.events": "oom 1\noom_kill 1\n", "memory.max": "4096\n"},
            "it has met its limit of 4096 bytes of memory (limits.memory_bytes)",
        ),
    ],
)
def test_who_has_met_its_limit_is_told(tmp_path: Path, files: dict[str, str], hint: str) -> None:
    """Its shim may have removed the cgroup already."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cgroup.Cgroups(tmp_path, 7).hint(tmp_path) == hint

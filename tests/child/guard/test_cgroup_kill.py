"""The end of a cgroup, also without the kernel's help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartmob_agent.child.guard.cgroup_kill import kill_cgroup, remove_cgroup

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd_open(2)")


@pytest.fixture
def member() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process


def test_before_linux_5_14_each_member_is_killed(
    tmp_path: Path, member: subprocess.Popen[bytes]
) -> None:
    """The others, whose numbers mean nobody any more, do not stop it."""
    below = tmp_path / "made" / "by-the-app"
    below.mkdir(parents=True)
    gone = "".join(f"{2**22 + number}\n" for number in range(300))
    (below / "cgroup.procs").write_text(f"{gone}{member.pid}\n")
    kill_cgroup(str(tmp_path))
    assert member.stdin
    member.stdin.close()  # so it ends in any case
    assert member.wait() == -9


def test_with_it_the_kernel_is_told(tmp_path: Path) -> None:
    (tmp_path / "cgroup.kill").touch()
    kill_cgroup(str(tmp_path))
    assert (tmp_path / "cgroup.kill").read_text() == "1"


def test_all_goes_that_an_app_has_made_below(tmp_path: Path) -> None:
    app = tmp_path / "app-1-1"
    (app / "one" / "two").mkdir(parents=True)
    (app / "other").mkdir()
    remove_cgroup(str(app))
    assert not app.exists()


def test_what_is_gone_is_no_error(tmp_path: Path) -> None:
    kill_cgroup(str(tmp_path / "missing"))
    remove_cgroup(str(tmp_path / "missing"))


def test_what_is_not_empty_stays(tmp_path: Path) -> None:
    (tmp_path / "app" / "sub").mkdir(parents=True)
    (tmp_path / "app" / "kept").touch()
    remove_cgroup(str(tmp_path / "app"))
    assert list((tmp_path / "app").iterdir()) == [tmp_path / "app" / "kept"]

"""A bound on processes that an ordinary user's other programs do not run into."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from smartmob_agent.child.limits import default_max_processes, limits_of_child
from smartmob_agent.errors import StartError

INFINITE = resource.RLIM_INFINITY


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with two processes of the user, of three threads together, and others."""
    for name in ("7/task/7", "8/task/8", "8/task/9", "self/task/8"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "6").mkdir()  # It has just ended.
    return tmp_path


@pytest.fixture(autouse=True)
def hard_limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the limit that is found; there is none at first."""

    def limit(hard: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))

    limit(INFINITE)
    return limit


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def test_what_the_user_runs_comes_on_top(monkeypatch: pytest.MonkeyPatch, proc: Path) -> None:
    as_user(monkeypatch, os.getuid() or 0)
    if os.getuid() == 0:
        for path in [*proc.glob("[0-9]*")]:
            os.chown(path, 65534, 65534)
        as_user(monkeypatch, 65534)
    assert default_max_processes(own_cgroups=False, proc=proc) == 512 + 3


def test_processes_of_others_do_not_count(monkeypatch: pytest.MonkeyPatch, proc: Path) -> None:
    as_user(monkeypatch, 12345)
    assert default_max_processes(own_cgroups=False, proc=proc) == 512


def test_a_cgroup_counts_only_its_own(monkeypatch: pytest.MonkeyPatch, proc: Path) -> None:
    as_user(monkeypatch, 12345)
    assert default_max_processes(own_cgroups=True, proc=proc) == 512


def test_root_is_not_bound(monkeypatch: pytest.MonkeyPatch, proc: Path) -> None:
    as_user(monkeypatch, 0)
    assert default_max_processes(own_cgroups=False, proc=proc) is None


@pytest.mark.parametrize(("hard", "bound"), [(INFINITE, 512), (600, 512), (100, 100)])
def test_nobody_asks_for_more_than_the_hard_limit(
    monkeypatch: pytest.MonkeyPatch,
    proc: Path,
    hard_limit: Callable[[int], None],
    hard: int,
    bound: int,
) -> None:
    as_user(monkeypatch, 12345)
    hard_limit(hard)
    assert default_max_processes(own_cgroups=False, proc=proc) == bound


def test_what_is_within_the_limit_can_be_had(hard_limit: Callable[[int], None]) -> None:
    assert limits_of_child(1_000_000, counted=None) == {"RLIMIT_NPROC": 1_000_000}
    hard_limit(100)
    assert limits_of_child(100, counted=None) == {"RLIMIT_NPROC": 100}


def test_above_the_limit_the_kernel_decides(
    monkeypatch: pytest.MonkeyPatch, hard_limit: Callable[[int], None]
) -> None:
    """It lets root, mostly; all that was tried is taken back."""
    tried = []

    def refuse(_: int, limits: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    hard_limit(100)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: tried.append(limits))
    limits_of_child(101, counted=None)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    with pytest.raises(StartError) as caught:
        limits_of_child(101, counted=None)
    expected = "cannot allow 101 processes: the hard limit of this user is 100 (ulimit -Hu)"
    assert (str(caught.value), tried) == (expected, [(100, 101), (100, 100)])


def test_where_a_cgroup_counts_the_user_is_not_bound(hard_limit: Callable[[int], None]) -> None:
    hard_limit(100)
    assert limits_of_child(512, counted=True) == {}
    assert limits_of_child(None, counted=None) == {}


def test_where_a_cgroup_does_not_count_all_that_the_user_runs_comes_on_top(
    monkeypatch: pytest.MonkeyPatch, proc: Path
) -> None:
    """Else no app could start anything beside 512 processes of its user."""
    for path in proc.glob("[0-9]*"):
        os.chown(path, os.getuid(), -1)
    as_user(monkeypatch, os.getuid())
    assert limits_of_child(512, counted=False, proc=proc) == {"RLIMIT_NPROC": 512 + 3}

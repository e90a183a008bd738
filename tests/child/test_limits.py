"""A bound on processes that an ordinary user's other programs do not run into."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from smartmob_agent.child.limits import (
    check_user_processes,
    default_max_processes,
    default_user_processes,
    limits_of_child,
    raise_open_files,
)
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


def set_kernel(proc: Path, **numbers: int) -> None:
    directory = proc / "sys/kernel"
    directory.mkdir(parents=True)
    for name, number in numbers.items():
        (directory / name.replace("threads_max", "threads-max")).write_text(f"{number}\n")


def test_the_user_has_half_of_the_machine(monkeypatch: pytest.MonkeyPatch, proc: Path) -> None:
    as_user(monkeypatch, 12345)
    set_kernel(proc, threads_max=192_730, pid_max=32_768)
    assert default_user_processes(proc=proc) == 16_384


def test_a_user_with_much_has_room_for_one_more_tree(
    monkeypatch: pytest.MonkeyPatch, proc: Path
) -> None:
    for path in proc.glob("[0-9]*"):
        os.chown(path, os.getuid() or 65534, -1)
    as_user(monkeypatch, os.getuid() or 65534)
    set_kernel(proc, threads_max=1000, pid_max=1000)
    assert default_user_processes(proc=proc) == 2048 + 3


def test_where_the_kernel_tells_nothing_there_is_a_bound_too(
    monkeypatch: pytest.MonkeyPatch, proc: Path
) -> None:
    as_user(monkeypatch, 12345)
    assert default_user_processes(proc=proc) == 4096


def test_root_is_not_bound(monkeypatch: pytest.MonkeyPatch, proc: Path) -> None:
    as_user(monkeypatch, 0)
    assert default_max_processes() is None
    assert default_user_processes(proc=proc) is None


@pytest.mark.parametrize(
    ("hard", "bounds"), [(INFINITE, (2048, 4096)), (3000, (2048, 3000)), (100, (100, 100))]
)
def test_nobody_asks_for_more_than_the_hard_limit(
    monkeypatch: pytest.MonkeyPatch,
    proc: Path,
    hard_limit: Callable[[int], None],
    hard: int,
    bounds: tuple[int, int],
) -> None:
    as_user(monkeypatch, 12345)
    hard_limit(hard)
    assert (default_max_processes(), default_user_processes(proc=proc)) == bounds


def test_children_have_what_was_asked_for(hard_limit: Callable[[int], None]) -> None:
    hard_limit(4096)
    expected = {"RLIMIT_NPROC": (100, 100), "RLIMIT_NOFILE": (1024, 4096)}
    assert limits_of_child(user_processes=100, open_files=1024) == expected
    assert limits_of_child(user_processes=None, open_files=None) == {}


def test_what_is_within_the_limit_can_be_had(hard_limit: Callable[[int], None]) -> None:
    check_user_processes(1_000_000)
    hard_limit(100)
    check_user_processes(100)


def test_above_the_limit_the_kernel_decides(
    monkeypatch: pytest.MonkeyPatch, hard_limit: Callable[[int], None]
) -> None:
    """It lets root, mostly; all that was tried is taken back."""
    tried = []

    def refuse(_: int, limits: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    hard_limit(100)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: tried.append(limits))
    check_user_processes(101)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    with pytest.raises(StartError) as caught:
        check_user_processes(101)
    expected = "cannot allow 101 processes: the hard limit of this user is 100 (ulimit -Hu)"
    assert (str(caught.value), tried) == (expected, [(100, 101), (100, 100)])


def test_open_files_are_raised_to_the_hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, found: limits.append(found))
    assert (raise_open_files(), limits[1:]) == (1024, [(4096, 4096)])
    assert (raise_open_files(), limits[2:]) == (None, [])


def test_open_files_stay_where_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, limits: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, INFINITE))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_open_files() is None

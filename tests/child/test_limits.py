"""A bound on processes that an ordinary user's other programs do not run into."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smartmob_agent.child.limits import default_max_processes


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with two processes of the user, of three threads together, and others."""
    for name in ("7/task/7", "8/task/8", "8/task/9", "self/task/8"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "6").mkdir()  # It has just ended.
    return tmp_path


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

"""All uses of trio's private scheduler, in one place.

`_r` and `_ALLOW_DETERMINISTIC_SCHEDULING` of `trio._core._run` exist for pytest-trio and
Hypothesis (python-trio/trio#840 and #890); `Task._cancel_status` is meant for trio alone.
"""
# ruff: noqa: SLF001 -- private names are the purpose of this module

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import trio

__all__ = ["all_tasks", "lift_shields", "place_of", "seeded_scheduler"]

_RUN: Any = trio._core._run


@contextlib.contextmanager
def seeded_scheduler(seed: int) -> Iterator[None]:
    """Let `seed` alone decide in which order `trio.run` schedules tasks that are ready.

    trio shuffles each batch of ready tasks, so every order is one that may happen.
    """
    state, deterministic = _RUN._r.getstate(), _RUN._ALLOW_DETERMINISTIC_SCHEDULING
    _RUN._r.seed(seed)
    _RUN._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield
    finally:
        _RUN._r.setstate(state)
        _RUN._ALLOW_DETERMINISTIC_SCHEDULING = deterministic


def all_tasks() -> Iterator[trio.lowlevel.Task]:
    """All tasks of this run, parents before their children."""
    root = trio.lowlevel.current_root_task()
    tasks = [] if root is None else [root]
    while tasks:
        task = tasks.pop()
        yield task
        for nursery in task.child_nurseries:
            tasks += nursery.child_tasks


def lift_shields(task: trio.lowlevel.Task) -> None:
    """Let a cancellation reach a task through all shields."""
    status: Any = task._cancel_status
    while status is not None:
        status._scope.shield = False
        status = status._parent


def place_of(task: trio.lowlevel.Task) -> str:
    """Describe where a task waits, by the innermost line outside trio."""
    place = "its end"
    for frame, line in task.iter_await_frames():
        if not str(frame.f_globals.get("__name__", "")).startswith("trio."):
            place = f"{frame.f_code.co_filename}:{line} ({frame.f_code.co_qualname})"
    return f"task {task.name!r} at {place}"

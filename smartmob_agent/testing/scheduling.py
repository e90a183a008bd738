"""What of trio's scheduler tests lean on that is half private, all of it in one place.

`_r` and `_ALLOW_DETERMINISTIC_SCHEDULING` of `trio._core._run` are there for pytest-trio and
Hypothesis (python-trio/trio#840 and #890); `Task._cancel_status` is there for nobody.
"""
# ruff: noqa: SLF001 -- that is what this module is for

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import trio

__all__ = ["all_tasks", "lift_shields", "place_of", "seeded_scheduler"]

_RUN: Any = trio._core._run


@contextlib.contextmanager
def seeded_scheduler(seed: int) -> Iterator[None]:
    """Let `trio.run` take the tasks that are ready in an order that `seed` alone decides.

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
    """Go through all tasks of this run, those that started others first."""
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
    """Say where a task waits, by the innermost line that is not trio's."""
    place = "its end"
    for frame, line in task.iter_await_frames():
        if not str(frame.f_globals.get("__name__", "")).startswith("trio."):
            place = f"{frame.f_code.co_filename}:{line} ({frame.f_code.co_qualname})"
    return f"task {task.name!r} at {place}"

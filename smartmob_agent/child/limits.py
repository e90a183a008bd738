"""What a child is given of the limits of setrlimit(2), and where their defaults come from.

A bound on processes is of one tree where a cgroup counts it, else see `child/tree_watch.py`;
RLIMIT_NPROC, which counts all that the user runs, is only what a fork bomb meets before that.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Mapping
from pathlib import Path

from smartmob_agent.child.seam import ResourceLimits
from smartmob_agent.errors import StartError

__all__ = [
    "Limits",
    "check_user_processes",
    "default_max_processes",
    "default_user_processes",
    "limits_of_child",
    "limits_of_request",
    "raise_open_files",
    "tasks_of_user",
]

Limits = Mapping[str, tuple[int, int]]
"""Name in :mod:`resource` → soft and hard limit."""

_TREE_TASKS = 2048
"""Few apps have a tenth of it, threads included."""

_LEAST_USER_TASKS = 4096
"""Where the kernel does not say how many there may be."""


def default_max_processes() -> int | None:
    """Return a bound of each tree that stops a fork bomb and nobody else; None for root."""
    return None if os.geteuid() == 0 else _within_hard_limit(_TREE_TASKS)


def default_user_processes(*, proc: Path = Path("/proc")) -> int | None:
    """Return a bound of all that the user runs: half of what the machine may have; None for root.

    That is what the kernel itself gives to users (RLIMIT_NPROC in setrlimit(2)).  A thousand small
    apps with their guards are four thousand tasks.
    """
    if os.geteuid() == 0:
        return None
    most = [n for name in ("threads-max", "pid_max") if (n := _read(proc / "sys/kernel" / name))]
    bound = min(most) // 2 if most else _LEAST_USER_TASKS
    return _within_hard_limit(max(bound, _TREE_TASKS + tasks_of_user(proc)))


def limits_of_child(*, user_processes: int | None, open_files: int | None) -> Limits:
    """Return what each child is given.

    user_processes: of the whole user, when the child starts another; None for the agent's own.
    open_files: soft limit of open descriptors; None for the agent's own.
    """
    limits = {}
    if user_processes is not None:
        limits["RLIMIT_NPROC"] = (user_processes, user_processes)
    if open_files is not None:
        limits["RLIMIT_NOFILE"] = (open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    return limits


def limits_of_request(limits: ResourceLimits) -> Limits:
    """Return what a child is given of what its request asks for; never more than may be given."""
    asked = {"RLIMIT_NOFILE": limits.open_files, "RLIMIT_CORE": limits.core_bytes}
    given = {}
    for name, most in asked.items():
        if most is not None:
            hard = resource.getrlimit(getattr(resource, name))[1]
            bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
            given[name] = (bound, bound)
    return given


def raise_open_files() -> int | None:
    """Raise the soft limit of open files to the hard one, and return what it was.

    None if it stays as it is: it is as high already, or the kernel refuses.  Each child takes
    three descriptors of the agent; programs that use select(2) are to have no more than 1024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return None
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # such as on macOS, where the hard limit is not to be had
        return None
    return soft


def check_user_processes(bound: int) -> None:
    """Raise `StartError` if children cannot be given this RLIMIT_NPROC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard == resource.RLIM_INFINITY or bound <= hard:
        return
    try:  # the only way to know: whether root may depends on its capabilities
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, bound))
    except ValueError as exc:
        reason = f"the hard limit of this user is {hard} (ulimit -Hu)"
        raise StartError(f"cannot allow {bound} processes: {reason}") from exc
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))


def tasks_of_user(proc: Path) -> int:
    """Count the threads of the user that we are, as the kernel does."""
    uid, tasks = os.geteuid(), 0
    for directory in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has just ended.
            if directory.stat().st_uid == uid:
                tasks += sum(1 for _ in (directory / "task").iterdir())
    return tasks


def _within_hard_limit(bound: int) -> int:
    """Less where the hard limit is (`ulimit -Hu`), since nobody may raise that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    return bound if hard == resource.RLIM_INFINITY else min(bound, hard)


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not on Linux
        return None

"""How many processes an app may start, where the kernel counts all of its user."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

from smartmob_agent.errors import StartError

__all__ = ["default_max_processes", "limits_of_child"]

_SPARE = 512
"""With so many a fork bomb can be killed in a few seconds; few apps need half of it."""


def default_max_processes(*, own_cgroups: bool, proc: Path = Path("/proc")) -> int | None:
    """Return a bound that stops a fork bomb and nobody else; None for root.

    own_cgroups: each child is counted by itself.  Else the kernel counts all that the user
        runs, so that comes on top: RLIMIT_NPROC in setrlimit(2), which does not bind root.
    """
    if os.geteuid() == 0:
        return None
    return _SPARE if own_cgroups else _bound_beside_others(_SPARE, proc)


def limits_of_child(
    count: int | None, *, counted: bool | None, proc: Path = Path("/proc")
) -> dict[str, int]:
    """Return what each child is given: name in :mod:`resource` → limit.

    counted: whether its cgroup counts its processes, to which `count` applies; then there is
        nothing to do.  If it does not, so many come on top of all that the user runs.  None
        without a cgroup: then `count` is of the whole user.

    Raises `StartError` when the user may not have so many.
    """
    if count is None or counted:
        return {}
    if counted is None:
        _check_bound(count)
        return {"RLIMIT_NPROC": count}
    return {"RLIMIT_NPROC": _bound_beside_others(count, proc)}


def _bound_beside_others(count: int, proc: Path) -> int:
    """RLIMIT_NPROC for so many processes beside all that the user runs now.

    Less where the hard limit is (`ulimit -Hu`), since nobody may raise that.
    """
    bound = count + _tasks_of(os.geteuid(), proc)
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    return bound if hard == resource.RLIM_INFINITY else min(bound, hard)


def _check_bound(bound: int) -> None:
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


def _tasks_of(uid: int, proc: Path) -> int:
    """Count the threads of a user, as the kernel does."""
    tasks = 0
    for directory in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has just ended.
            if directory.stat().st_uid == uid:
                tasks += sum(1 for _ in (directory / "task").iterdir())
    return tasks

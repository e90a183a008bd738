"""How many processes an app may start when nobody has said it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["default_max_processes"]

_SPARE = 512
"""With so many a fork bomb can be killed in a few seconds; few apps need half of it."""


def default_max_processes(*, own_cgroups: bool, proc: Path = Path("/proc")) -> int | None:
    """Return a bound that stops a fork bomb and nobody else; None for root.

    own_cgroups: each child is counted by itself.  Else the kernel counts all that the user
        runs, so that comes on top: RLIMIT_NPROC in setrlimit(2), which does not bind root.
    """
    if (uid := os.geteuid()) == 0:
        return None
    return _SPARE if own_cgroups else _SPARE + _tasks_of(uid, proc)


def _tasks_of(uid: int, proc: Path) -> int:
    """Count the threads of a user, as the kernel does."""
    tasks = 0
    for directory in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has just ended.
            if directory.stat().st_uid == uid:
                tasks += sum(1 for _ in (directory / "task").iterdir())
    return tasks

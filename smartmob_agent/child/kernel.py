"""What the guard asks of the kernel: control of processes, and a look at the tree.

A process may be signalled by its number only while it cannot have been reused: our own
children until we reap them.  All others are signalled through a pidfd, opened before
the look that tells whose child it is.  Standard library only: the guard imports this module
without the rest of the package.
"""

# Without pathlib, which would cost each shim memory:
# ruff: noqa: PTH110, PTH112, PTH123, PTH208

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection, Iterator
from typing import NamedTuple

__all__ = [
    "Process",
    "become_subreaper",
    "children",
    "die_with_parent",
    "look",
    "refuse_new_privileges",
    "signal_below",
    "walk",
]

# <linux/prctl.h>
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_LISTS_CHILDREN = os.path.exists("/proc/thread-self/children")

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if _libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> bool:
    """Make orphaned descendants our children; False where there is no such thing."""
    if sys.platform != "linux":
        return False
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    return True


def refuse_new_privileges() -> None:
    """Let no program that we start gain privileges: we could not kill it any more."""
    if sys.platform == "linux":
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent() -> None:
    """Ask for SIGKILL when the thread that forked us ends; the caller checks `getppid()`."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process(NamedTuple):
    """A process as /proc/PID/stat has it (proc(5))."""

    pid: int
    state: str
    parent: int
    group: int
    start: int
    """Clock ticks since boot: tells two processes with the same number apart."""

    @property
    def is_alive(self) -> bool:
        return self.state not in "ZX"


def look(pid: int) -> Process | None:
    """The process of that number, None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, more parentheses too.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[19]))


def children(pid: int) -> list[int]:
    """The children of a process at this moment, zombies too."""
    if not _LISTS_CHILDREN:
        return _children_by_scan(pid)
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{pid}/task/{thread}/children", "rb") as file,
            ):
                found += map(int, file.read().split())
    return found


def _children_by_scan(pid: int) -> list[int]:
    """The same where the kernel lists no children (CONFIG_PROC_CHILDREN)."""
    if not os.path.isdir("/proc/self"):
        return []
    everyone = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process.pid for process in everyone if process and process.parent == pid]


def walk(spared: Collection[int] = ()) -> Iterator[Process]:
    """Our descendants, but for spared children of ours and what is below them.

    What moves in the tree meanwhile may be missed: who needs to be sure walks again.
    """
    todo = [(os.getpid(), pid) for pid in children(os.getpid()) if pid not in spared]
    while todo:
        parent, pid = todo.pop()
        process = look(pid)
        if process is not None and process.parent == parent:
            yield process
            todo += [(pid, child) for child in children(pid)]


def signal_below(signum: int, spared: Collection[int] = ()) -> set[int]:
    """Signal all our living descendants that `walk()` finds; returns their numbers."""
    me = os.getpid()
    found = {process.pid: process for process in walk(spared)}
    for process in found.values():
        if process.parent == me:
            with contextlib.suppress(PermissionError):  # set-uid: cgroup.kill may reach it
                os.kill(process.pid, signum)
        else:
            _signal_deep(process, found[process.parent], signum)
    return {process.pid for process in found.values() if process.is_alive}


def _signal_deep(process: Process, parent: Process, signum: int) -> None:
    """Signal a process that is not our child, if it still is below us.

    If in doubt it is left alone: it becomes our child when its parent has died.
    """
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now, above = look(process.pid), look(parent.pid)
        in_place = now and above and now.parent == above.pid and above.start == parent.start
        if in_place or (now and now.parent == os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(pidfd, signum)
    finally:
        os.close(pidfd)

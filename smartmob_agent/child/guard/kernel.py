"""What the guard asks of the kernel: control of processes, and a look at the tree.

A process may be signalled by its number only while it cannot have been reused: our own
children until we reap them.  All others are signalled through a pidfd, opened before
the look that tells whose child it is.  Standard library only: the guard imports this module
without the rest of the package.
"""

# Without pathlib, which would cost each shim memory:
# ruff: noqa: PTH110, PTH112, PTH116, PTH123, PTH208

from __future__ import annotations

import ctypes
import os
import sys

from .bare import TYPE_CHECKING, signal, suppress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = [
    "KernelProcess",
    "are_many",
    "become_subreaper",
    "children",
    "die_with_parent",
    "go_on_with_parent",
    "handles",
    "kill_below",
    "kill_children",
    "look",
    "refuse_new_privileges",
    "resume",
    "runs",
    "signal_member",
    "stop_below",
    "walk",
]

# <linux/prctl.h>
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_SURELY_ALL = 2048
"""Bytes: the kernel gives up to a page at a time, so after fewer there is nothing more."""

_LISTS_CHILDREN = os.path.exists("/proc/thread-self/children")

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:  # pragma: no cover  runs in the guard
    zero = ctypes.c_ulong(0)
    if _libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> bool:  # pragma: no cover  runs in the guard
    """Make orphaned descendants our children; False where there is no such thing."""
    if sys.platform != "linux":
        return False
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    return True


def refuse_new_privileges() -> None:  # pragma: no cover  runs in the guard
    """Let no program that we start gain privileges: we could not kill it any more."""
    if sys.platform == "linux":
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent() -> None:  # pragma: no cover  runs in the guard
    """Ask for SIGKILL when the thread that forked us ends; the caller checks `getppid()`."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def go_on_with_parent() -> None:  # pragma: no cover  runs in the guard
    """Ask for SIGCONT when the thread that started us ends: who is stopped could not see to it."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


class KernelProcess:
    """A process as /proc/PID/stat has it (proc(5))."""

    __slots__ = ("group", "parent", "pid", "start", "state")

    def __init__(self, pid: int, state: str, parent: int, group: int, start: int) -> None:
        self.pid, self.state, self.parent, self.group = pid, state, parent, group
        self.start = start
        """Clock ticks since boot: tells two processes with the same number apart."""

    @property
    def is_alive(self) -> bool:
        return self.state not in "ZX"


def look(pid: int) -> KernelProcess | None:
    """The process of that number, None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, more parentheses too.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return KernelProcess(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[19]))


def runs(pid: int, program: str) -> bool:
    """Whether a process runs that program, by whatever link it is named."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/exe"), os.stat(program))
    except OSError:
        return False


def handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal (proc_pid_status(5), SigCgt)."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            caught = file.read().partition(b"\nSigCgt:")[2].split(None, 1)[0]
    except (OSError, IndexError):
        return False
    return bool(int(caught, 16) >> (number - 1) & 1)


def children(pid: int) -> list[int]:
    """The children of a process at this moment, zombies too."""
    if not _LISTS_CHILDREN:
        return _children_by_scan(pid)
    tasks = f"/proc/{pid}/task"
    try:
        # Two links are no threads; most processes have a single one, of their own number.
        if os.stat(tasks).st_nlink == 3:
            return _read_numbers(f"{tasks}/{pid}/children")
        found = []
        for thread in os.listdir(tasks):
            with suppress(OSError):  # it has just ended
                found += _read_numbers(f"{tasks}/{thread}/children")
    except OSError:
        return []
    return found


def _read_numbers(path: str) -> list[int]:
    """Without a file object, which would take as long as the reading."""
    fd = os.open(path, os.O_RDONLY)
    try:
        data = more = os.read(fd, 65536)
        while len(more) > _SURELY_ALL:
            more = os.read(fd, 65536)
            data += more
        return list(map(int, data.split()))
    finally:
        os.close(fd)


def _children_by_scan(pid: int) -> list[int]:
    """The same where the kernel lists no children (CONFIG_PROC_CHILDREN)."""
    if not os.path.isdir("/proc/self"):  # pragma: no cover  -- not on Linux
        return []
    everyone = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process.pid for process in everyone if process and process.parent == pid]


def walk(spared: Collection[int] = ()) -> Iterator[KernelProcess]:
    """Our descendants, but for spared children of ours and what is below them.

    What moves in the tree meanwhile may be missed: who needs to be sure walks again.
    """
    todo = [(os.getpid(), pid) for pid in children(os.getpid()) if pid not in spared]
    while todo:
        parent, pid = todo.pop()
        process = look(pid)
        # The other way is one that has ended, or moved, in between.
        if process is not None and process.parent == parent:  # pragma: no branch
            yield process
            todo += [(pid, child) for child in children(pid)]


def kill_children(spared: Collection[int] = ()) -> list[int]:
    """SIGKILL for our children but the spared; returns their numbers, zombies too."""
    found = [pid for pid in children(os.getpid()) if pid not in spared]
    for pid in found:
        with suppress(PermissionError):  # set-uid: cgroup.kill may reach it
            os.kill(pid, signal.SIGKILL)
    return found


def stop_below(spared: Collection[int] = ()) -> set[int]:
    """SIGSTOP for all our descendants that we find, as fast as may be; returns their numbers.

    A process that makes others can be outrun only by stopping it first, so there is no time
    to look twice whom a number belongs to: see `resume()`.
    """
    found: list[int] = []
    _stop((pid for pid in children(os.getpid()) if pid not in spared), found)
    for pid in found:  # grows meanwhile
        _stop(children(pid), found)
    return set(found)


def _stop(pids: Iterable[int], stopped: list[int]) -> None:
    """Stop them before anybody looks for their children, which takes four times as long."""
    for pid in pids:
        try:  # a context manager would take a twentieth of the time
            os.kill(pid, signal.SIGSTOP)
        except (ProcessLookupError, PermissionError):
            continue
        stopped.append(pid)


def are_many(limit: int) -> bool:
    """Whether we have more descendants than that, without looking at many more."""
    found = children(os.getpid())
    for pid in found:  # grows meanwhile
        if len(found) > limit:
            return True
        found += children(pid)
    return False


def resume(pids: Collection[int]) -> None:
    """SIGCONT for those that `stop_below()` took for ours by mistake."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGCONT)


def kill_below(spared: Collection[int] = ()) -> set[int]:
    """SIGKILL for all our descendants that are found; returns their numbers, zombies too."""
    me = os.getpid()
    links = [(me, pid) for pid in children(me) if pid not in spared]
    for _, parent in links:  # grows meanwhile
        links += [(parent, pid) for pid in children(parent)]
    deep = {pid for parent, pid in reversed(links) if parent != me and _kill_deep(pid, parent)}
    return deep.union(kill_children(spared))


def _kill_deep(pid: int, parent: int) -> bool:
    """Kill a process that is not our child; False if it is not the child of `parent` any more.

    Then it is left alone: it becomes our child when its parent has died.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        process = look(pid)
        if process is None or process.parent not in {parent, os.getpid()}:
            return False
        with suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return True
    finally:
        os.close(pidfd)


def signal_member(pid: int, group: int, number: int) -> None:
    """Send a signal to a process if it still is a member of that process group."""
    with suppress(OSError):  # It has ended, or gained privileges.
        pidfd = os.pidfd_open(pid)
        try:
            process = look(pid)
            if process is not None and process.group == group:
                signal.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)

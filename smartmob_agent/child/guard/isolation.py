"""A PID namespace for one app: the kernel ends it with its first process, whoever else died.

Standard library only: the guard imports this module without the rest of the package.
"""

# Without pathlib, which would cost each shim memory:
# ruff: noqa: PTH115

from __future__ import annotations

import ctypes
import os
import select
import sys

from .bare import TYPE_CHECKING, signal
from .kernel import die_with_parent

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = [
    "begin_somewhere",
    "enter_pid_namespace",
    "host_pid",
    "mount_own_proc",
    "reap_as_init",
    "tie_to_parent",
]

# <linux/sched.h>, <linux/mount.h>
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_SLAVE = 0x2, 0x4, 0x8, 0x4000, 0x80000

_FIRST, _NUMBERS = 300, 30000
"""Below the kernel's default for pid_max, 32768; those up to 300 are not given again after it."""
_MOST_USED_UP = 200
"""A hundred took 50 ms on a busy machine."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def enter_pid_namespace() -> None:
    """Let our next child be the first process of a PID namespace.

    Who is not root needs a user namespace for it, in which all other users look like nobody.

    Raises `OSError` where the kernel refuses: by sysctl, seccomp or AppArmor.
    """
    user, group = os.geteuid(), os.getegid()
    if sys.platform != "linux":
        raise OSError(None, "needs Linux")
    _check(_libc.unshare(_CLONE_NEWPID | (_CLONE_NEWUSER if user else 0)))
    if user:
        _write("setgroups", "deny")  # user_namespaces(7): before the map of groups
        _write("uid_map", f"{user} {user} 1")
        _write("gid_map", f"{group} {group} 1")


def _write(name: str, text: str) -> None:
    fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def begin_somewhere() -> None:
    """Let the next process of our namespace have a number that nobody had in an earlier life.

    Numbers begin at 1 in each namespace: the app would always have the same, and find itself
    alive in the pid file that it left when it was killed.  Where the number cannot be set
    (CONFIG_CHECKPOINT_RESTORE; /proc/sys is read-only in most containers) some are used up.
    """
    try:
        fd = os.open("/proc/sys/kernel/ns_last_pid", os.O_WRONLY)
        try:
            os.write(fd, str(_FIRST + _random(2) % _NUMBERS).encode("ascii"))
        finally:
            os.close(fd)
    except OSError:
        for _ in range(_random(1) % _MOST_USED_UP):
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)


def _random(size: int) -> int:
    return int.from_bytes(os.urandom(size), "big")


def host_pid() -> int:
    """Our number outside of the namespace, to be asked for before `mount_own_proc()`."""
    return int(os.readlink("/proc/self"))


def mount_own_proc() -> None:
    """A /proc that shows the namespace, in a mount namespace of our own."""
    _check(_libc.unshare(_CLONE_NEWNS))
    # Mounts of the host go on arriving, ours do not leave.
    _check(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None))
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _check(_libc.mount(b"proc", b"/proc", b"proc", flags, None))


def tie_to_parent(trouble: int) -> None:
    """Let the first process, so its namespace, end with its parent.

    trouble: a pipe whose other end is with our parent alone.  `getppid()` tells nothing
        here: it is 0, since our parent is not in the namespace.
    """
    die_with_parent()
    poll = select.poll()
    poll.register(trouble, 0)
    if poll.poll(0):  # POLLERR: there was no parent any more when we asked to die with it
        os._exit(127)


def reap_as_init(main: int, report: int) -> NoReturn:
    """Reap until nothing is left in the namespace; report the end of the app when it comes.

    As first process of its namespace it takes no signal but SIGKILL from outside.
    """
    signal.set_wakeup_fd(-1)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            os._exit(0)
        if pid == main:
            os.write(report, f"exited {status}\n".encode("ascii"))

"""The directory of an agent's state: whose it is, who may read it, and who uses it now."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from smartmob_agent.errors import StartError

__all__ = ["ACKNOWLEDGED", "DATABASE", "check_file", "lock_state_dir", "make_state_dir", "sync_dir"]

DATABASE = "state.db"
ACKNOWLEDGED = "state.acknowledged"
LOCK = "state.lock"

OPEN = os.O_NOFOLLOW | os.O_CLOEXEC
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_state_dir(directory: Path) -> None:
    """Make the directory, mode 0700, if it is missing.

    An existing one is not changed: it might be /tmp.

    Raises `StartError` when it cannot be had, or others may use it: documents hold secrets.
    """
    try:
        directory.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as exc:
        raise StartError(f"cannot keep state in {directory}: {exc.strerror}") from exc
    _check_owner(directory, status)
    if status.st_mode & OTHERS:
        raise StartError(
            f"expected the mode 0700 of {directory}, which will hold secrets, "
            f"found {stat.S_IMODE(status.st_mode):04o}: change it, or name a new directory below it"
        )


def check_file(path: Path) -> None:
    """Check that a file is a regular one of ours, and let nobody else use it.

    Raises `StartError`, `OSError`.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise StartError(f"expected a regular file {path}, found something else")
    _check_owner(path, status)
    if status.st_mode & OTHERS:
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise StartError(
            f"expected {path} to belong to user {os.geteuid()}, who runs the agent, "
            f"found user {status.st_uid}"
        )


@contextlib.contextmanager
def lock_state_dir(directory: Path) -> Iterator[None]:
    """Lock the directory; the kernel unlocks it when this process ends, however it ends.

    The lock is on a file (flock(2)) that holds the number of the process.

    Raises `StartError` when another agent has locked it.
    """
    path = directory / LOCK
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | OPEN, stat.S_IRUSR | stat.S_IWUSR)
    except OSError as exc:
        raise StartError(f"cannot lock {path}: {exc.strerror}") from exc
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise StartError(
                f"expected no other agent to use {directory}, found the one with pid {pid}"
            ) from exc
        _write_pid(fd)
        yield
    finally:
        os.close(fd)


def _write_pid(fd: int) -> None:
    # The lock holds without it, also on a full disk; a longer number of a former agent ends here.
    with contextlib.suppress(OSError):
        os.pwrite(fd, f"{os.getpid()}\n".ljust(20).encode(), 0)


def sync_dir(directory: Path) -> None:
    """Wait until the names in a directory are on the disk.

    Raises `OSError`.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

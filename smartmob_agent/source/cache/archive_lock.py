"""Locks on archives, so that no agent removes one in use.  Synchronous: for threads.

An archive is a file with its digest as its name.  Each user has a shared lock on the file
(flock(2)), which ends with the user's agent at the latest.  An archive is removed only under an
exclusive lock, and after a check that the name still belongs to the locked file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import attrs

__all__ = ["ArchiveLock", "Check", "place", "remove", "take"]

logger = logging.getLogger(__name__)

FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

PIECE_BYTES = 1024 * 1024

Check = Callable[[], None]
"""Called between two pieces of work; its exceptions propagate."""


@attrs.frozen(eq=False)
class ArchiveLock:
    """A shared lock on an archive, which no agent removes meanwhile."""

    path: Path
    _fd: int

    @property
    def exists(self) -> bool:
        """Whether the file is still there: a person may have removed it."""
        try:
            return os.path.samestat(os.fstat(self._fd), self.path.lstat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Unlock the archive; to be called once."""
        os.close(self._fd)


def take(path: Path, check: Check) -> ArchiveLock | None:
    """Lock an archive, and set its time of last use to now.

    None if there is none, if it is being removed, or if it is damaged, in which case this removes
    it.
    """
    with contextlib.ExitStack() as stack:
        fd = _lock(path, fcntl.LOCK_SH, stack)
        if fd is None:
            return None
        if _digest(fd, check) == path.name:
            os.utime(fd)
            stack.pop_all()
            return ArchiveLock(path, fd)
    logger.warning("removed a damaged archive", extra={"sha256": path.name})
    remove(path)
    return None


def place(part: Path, path: Path, check: Check) -> ArchiveLock:
    """Turn a complete file into an archive, and lock it; the file loses its own name.

    part: the file, on the same disk, whose digest is the name of `path`.

    If there is such an archive already, the file is removed and that archive locked.
    """
    with contextlib.ExitStack() as stack:
        fd = os.open(part, FILE)
        stack.callback(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_SH)  # before it has a name under which it may be removed
        try:
            os.link(part, path)
        except FileExistsError:
            existing = take(path, check)
            if existing is not None:
                part.unlink()
                return existing
            os.link(part, path)  # in the place of a damaged one
        part.unlink()
        stack.pop_all()
        return ArchiveLock(path, fd)


def remove(path: Path) -> bool:
    """Remove an archive; False if it is in use or gone."""
    with contextlib.ExitStack() as stack:
        if _lock(path, fcntl.LOCK_EX, stack) is None:
            return False
        path.unlink()
        return True


def _lock(path: Path, kind: int, stack: contextlib.ExitStack) -> int | None:
    """Open and lock a file, which `stack` closes; None if it is gone or locked by another."""
    try:
        fd = os.open(path, FILE)
        stack.callback(os.close, fd)
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        is_same = os.path.samestat(os.fstat(fd), path.lstat())
    except (BlockingIOError, FileNotFoundError):
        return None
    return fd if is_same else None


def _digest(fd: int, check: Check) -> str:
    digest, piece, offset = hashlib.sha256(), bytearray(PIECE_BYTES), 0
    while size := os.preadv(fd, [piece], offset):
        check()
        digest.update(memoryview(piece)[:size])
        offset += size
    return digest.hexdigest()

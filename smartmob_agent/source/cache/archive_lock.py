"""Archives that are held: locked, so that nobody removes them.  Synchronous: for threads.

An archive is a file with its digest as its name.  Who uses it has a shared lock on it
(flock(2)), which ends with its agent at the latest.  Only who has it exclusively, and has seen
that the name is still that of the same file, removes it.
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
"""Called between two pieces of work; what it raises comes through."""


@attrs.frozen(eq=False)
class ArchiveLock:
    """An archive that nobody removes while it is held."""

    path: Path
    _fd: int

    @property
    def exists(self) -> bool:
        """Whether it is there all the same: a human may have tidied up."""
        try:
            return os.path.samestat(os.fstat(self._fd), self.path.lstat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Hold it no more; to be called once."""
        os.close(self._fd)


def take(path: Path, check: Check) -> ArchiveLock | None:
    """Hold an archive, and note that it is used now.

    None if there is none, if it is being removed, or if it is damaged: then it is removed here.
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
    """Make an archive of a complete file, which loses its own name; hold it.

    part: on the same disk, and with the digest that is the name of `path`.

    If there is such an archive already, that one is taken.
    """
    with contextlib.ExitStack() as stack:
        fd = os.open(part, FILE)
        stack.callback(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_SH)  # before it has a name by which it may be removed
        try:
            os.link(part, path)
        except FileExistsError:
            there = take(path, check)
            if there is not None:
                part.unlink()
                return there
            os.link(part, path)  # in the place of a damaged one
        part.unlink()
        stack.pop_all()
        return ArchiveLock(path, fd)


def remove(path: Path) -> bool:
    """Remove an archive; False if somebody holds it, or it is gone."""
    with contextlib.ExitStack() as stack:
        if _lock(path, fcntl.LOCK_EX, stack) is None:
            return False
        path.unlink()
        return True


def _lock(path: Path, kind: int, stack: contextlib.ExitStack) -> int | None:
    """Open and lock a file, which `stack` closes; None if it is gone, or locked otherwise."""
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

"""Copies of whole trees, by reflink where the disk can.  Synchronous: for threads.

A copy shares no file with its original (no hard links): what a process changes in its own files
no other process sees.  A reflink (FICLONE, ioctl_ficlone(2)) shares blocks until one side writes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

__all__ = ["MAX_DEPTH", "Tally", "copy_tree", "open_directory"]

MAX_DEPTH = 200
"""Directories within each other: each has a descriptor while it is copied."""

FICLONE = 0x40049409
"""From <linux/fs.h>; Python names it from 3.12 on."""

SMALL_BYTES = 128 * 1024
"""What is read and written as a whole."""

PIECE_BYTES = 16 * 1024 * 1024

NO_CLONES = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS})

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

PERMISSIONS = 0o777
"""Kept of a file's mode: a copy is nobody's set-user-ID program."""


@attrs.define
class Tally:
    """What a tree has: entries of any kind, and bytes in its files."""

    entries: int = 0
    content_bytes: int = 0


def copy_tree(
    source: Path, target: Path, *, check: Callable[[], None], take: Callable[[int], None]
) -> Tally:
    """Copy a directory with files, directories and links, their modes and times of change.

    Links are copied as they are, never followed; sockets, pipes and devices are left out.

    target: is made.
    check: called before each entry and each large piece; its exceptions propagate, and what was
        copied stays.
    take: told the bytes of each file that is written and not cloned, beforehand.

    Raises `OSError`, also for more than `MAX_DEPTH` directories within each other.
    """
    copier = _Copier(check=check, take=take)
    target.mkdir(mode=0o700)
    with open_directory(source) as from_fd, open_directory(target) as to_fd:
        copier.copy_directory(from_fd, to_fd, depth=0)
    return copier.tally


@contextlib.contextmanager
def open_directory(path: str | Path, dir_fd: int | None = None) -> Iterator[int]:
    """Open a directory itself, not through a link."""
    fd = os.open(path, DIRECTORY, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


@attrs.define(eq=False, kw_only=True)
class _Copier:
    check: Callable[[], None]
    take: Callable[[int], None]
    tally: Tally = attrs.field(factory=Tally)
    _clones: bool = True

    def copy_directory(self, source: int, target: int, *, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise OSError(errno.ELOOP, f"expected at most {MAX_DEPTH} directories in each other")
        with os.scandir(source) as entries:
            for entry in entries:
                self.check()
                if entry.is_dir(follow_symlinks=False):
                    os.mkdir(entry.name, 0o700, dir_fd=target)
                    with (
                        open_directory(entry.name, source) as inner_source,
                        open_directory(entry.name, target) as inner_target,
                    ):
                        self.copy_directory(inner_source, inner_target, depth=depth + 1)
                elif entry.is_symlink():
                    os.symlink(os.readlink(entry.name, dir_fd=source), entry.name, dir_fd=target)
                elif entry.is_file(follow_symlinks=False):
                    self._copy_file(entry.name, source, target)
                else:
                    continue
                self.tally.entries += 1
        status = os.fstat(source)
        os.fchmod(target, (status.st_mode & PERMISSIONS) | stat.S_IRWXU)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _copy_file(self, name: str, from_dir: int, to_dir: int) -> None:
        source = os.open(name, READ, dir_fd=from_dir)
        try:
            status = os.fstat(source)
            target = os.open(name, WRITE, status.st_mode & PERMISSIONS, dir_fd=to_dir)
            try:
                self.tally.content_bytes += self._copy_content(source, target, status.st_size)
                os.fchmod(target, status.st_mode & PERMISSIONS)
                os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _copy_content(self, source: int, target: int, size: int) -> int:
        if size and self._clone(source, target):
            return size
        self.take(size)
        if size <= SMALL_BYTES:
            data = os.read(source, SMALL_BYTES)
            return _write(target, data)
        copied = 0
        while piece := _copy_piece(source, target):
            copied += piece
            self.check()
        return copied

    def _clone(self, source: int, target: int) -> bool:
        """Share the blocks, if the disk can; one refusal counts for the whole copy."""
        if not self._clones:
            return False
        try:
            fcntl.ioctl(target, FICLONE, source)
        except OSError as exc:
            if exc.errno not in NO_CLONES:
                raise
            self._clones = False
        return self._clones


def _copy_piece(source: int, target: int) -> int:
    try:
        return os.copy_file_range(source, target, PIECE_BYTES)
    except OSError as exc:
        if exc.errno not in NO_CLONES:
            raise
        return _write(target, os.read(source, PIECE_BYTES))


def _write(target: int, data: bytes) -> int:
    written = 0
    while written < len(data):
        written += os.write(target, memoryview(data)[written:])
    return written

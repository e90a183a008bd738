"""A tree that a build has made, in the form in which it is kept.  Synchronous: for threads.

A build may leave anything: directories that its owner cannot read, sockets, and the path at which
it was built, in scripts and links.  That path has no meaning later.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import attrs

from smartmob_agent.source.trees.copy import MAX_DEPTH, READ, Tally, open_directory

__all__ = ["Settled", "move_texts", "settle_tree"]

TEXT_BYTES = 1024 * 1024
"""Larger files are data, in which nobody looks for a path."""

BLOCK_BYTES = 512
"""The unit of st_blocks: stat(2)."""

ENTRY_BYTES = 256
"""What an entry takes in its directory and in the table of inodes, about."""


@attrs.define(kw_only=True)
class Settled:
    """What a tree has.

    disk_bytes: space that it takes.
    texts: the files, by their paths in the tree, that name the path at which they are.
    """

    tally: Tally = attrs.field(factory=Tally)
    disk_bytes: int = 0
    texts: list[str] = attrs.field(factory=list)


def settle_tree(path: Path, check: Callable[[], None]) -> Settled:
    """Let the owner read all, remove what is no file, and look for files that name `path`.

    Links to what is in the tree are made relative, if they begin with `path`.

    path: absolute; a directory, not a link to one.
    check: called before each entry; its exceptions propagate.

    Raises `OSError`.
    """
    settler = _Settler(check=check, path=str(path))
    if not stat.S_ISDIR(path.lstat().st_mode):  # A link in its place leads anywhere.
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    path.chmod(stat.S_IRWXU)
    with open_directory(path) as fd:
        settler.settle(fd, "", depth=0)
    return settler.settled


def move_texts(texts: list[str], root: Path, old: str) -> None:
    """Write the path `root` in place of `old` into files below `root`, and keep their times."""
    for name in texts:
        path = root / name
        status = path.lstat()
        data = path.read_bytes().replace(os.fsencode(old), os.fsencode(root))
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@attrs.define(eq=False, kw_only=True)
class _Settler:
    check: Callable[[], None]
    path: str
    settled: Settled = attrs.field(factory=Settled)

    def settle(self, fd: int, prefix: str, *, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise OSError(errno.ELOOP, f"expected at most {MAX_DEPTH} directories in each other")
        with os.scandir(fd) as entries:
            for entry in entries:
                self.check()
                self._settle_entry(entry, fd, prefix, depth)

    def _settle_entry(self, entry: os.DirEntry[str], fd: int, prefix: str, depth: int) -> None:
        name, path = entry.name, f"{prefix}{entry.name}"
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            if status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
                os.chmod(name, (status.st_mode & 0o777) | stat.S_IRWXU, dir_fd=fd)
            with open_directory(name, fd) as inner:
                self.settle(inner, f"{path}/", depth=depth + 1)
        elif stat.S_ISLNK(status.st_mode):
            self._settle_link(name, fd, depth)
        elif stat.S_ISREG(status.st_mode):
            self._settle_file(name, path, fd, status)
        else:
            os.unlink(name, dir_fd=fd)
            return
        self.settled.tally.entries += 1
        self.settled.disk_bytes += status.st_blocks * BLOCK_BYTES + ENTRY_BYTES

    def _settle_link(self, name: str, fd: int, depth: int) -> None:
        target = os.readlink(name, dir_fd=fd)
        if target == self.path or target.startswith(f"{self.path}/"):
            inside = target[len(self.path) + 1 :]
            os.unlink(name, dir_fd=fd)
            os.symlink("../" * depth + inside or ".", name, dir_fd=fd)

    def _settle_file(self, name: str, path: str, fd: int, status: os.stat_result) -> None:
        if status.st_mode & (stat.S_IRUSR | stat.S_IWUSR) != stat.S_IRUSR | stat.S_IWUSR:
            os.chmod(name, (status.st_mode & 0o777) | stat.S_IRUSR | stat.S_IWUSR, dir_fd=fd)
        self.settled.tally.content_bytes += status.st_size
        if status.st_size <= TEXT_BYTES and not name.endswith(".pyc"):
            file = os.open(name, READ, dir_fd=fd)
            try:
                data = os.read(file, TEXT_BYTES)
            finally:
                os.close(file)
            if os.fsencode(self.path) in data and b"\0" not in data:
                self.settled.texts.append(path)

"""Removal of directories, whatever an app has done to them."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

__all__ = ["remove_tree"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path, check: Callable[[], None]) -> None:
    """Remove a directory with all its contents; nothing happens if there is none.

    Missing permissions, great depth and great numbers do not matter: each nested directory is
    moved to the top before it is emptied, so the removal needs neither recursion nor a descriptor
    for each level.  Links are removed, not followed.

    check: called before each entry; its exceptions propagate, and the remaining entries stay.

    Raises the first `OSError` when something is left.
    """
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
    except FileNotFoundError:
        return
    with _opened(path, None) as top:
        removal = _Removal(top=top, check=check)
        while removal.empty_top():
            pass
    try:
        path.rmdir()
    except OSError as exc:
        raise next(iter(removal.errors), exc) from None


@attrs.define(eq=False, kw_only=True)
class _Removal:
    """A removal in progress.

    errors: of the last pass over the top.
    """

    top: int
    check: Callable[[], None]
    errors: list[OSError] = attrs.field(factory=list)
    _removed: int = 0
    _prefix: str = attrs.field(factory=lambda: secrets.token_hex(8))

    def empty_top(self) -> bool:
        """Pass over the top once; return whether anything was removed or moved to the top."""
        before = self._removed
        self.errors.clear()
        self._empty(self.top, self._remove_directory)
        return self._removed > before

    def _empty(self, fd: int, handle_directory: Callable[[str, int], None]) -> None:
        with os.scandir(fd) as entries:
            for entry in entries:
                self.check()
                try:
                    if entry.is_dir(follow_symlinks=False):
                        handle_directory(entry.name, fd)
                    else:
                        os.unlink(entry.name, dir_fd=fd)
                except OSError as exc:
                    self.errors.append(exc)
                else:
                    self._removed += 1

    def _remove_directory(self, name: str, fd: int) -> None:
        with _opened(name, fd) as inner:
            self._empty(inner, self._move_up)
        os.rmdir(name, dir_fd=fd)

    def _move_up(self, name: str, fd: int) -> None:
        # To change its parent, a directory must itself be writable: its `..` changes.
        os.chmod(name, stat.S_IRWXU, dir_fd=fd)
        new_name = f"{self._prefix}-{self._removed}"
        os.rename(name, new_name, src_dir_fd=fd, dst_dir_fd=self.top)


@contextlib.contextmanager
def _opened(path: str | Path, dir_fd: int | None) -> Iterator[int]:
    """Open a directory after giving its owner all permissions."""
    os.chmod(path, stat.S_IRWXU, dir_fd=dir_fd)
    fd = os.open(path, DIRECTORY, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)

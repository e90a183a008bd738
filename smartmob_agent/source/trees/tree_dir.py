"""Trees below a directory that several agents may share.  Synchronous: for threads.

A tree gets its name after its last file, by rename(2), and is never written again: so each of
them is complete, whenever an agent was killed.  No write waits for the disk (fsync(2)); what a
power failure may have cost is found by counting when a tree is copied.

Each user has a shared lock on the directory (flock(2)), and a tree is removed only under an
exclusive one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from smartmob_agent.source.disk.rmtree import remove_tree
from smartmob_agent.source.trees.copy import DIRECTORY
from smartmob_agent.source.trees.settle import settle_tree

__all__ = ["KeptTree", "TreeDir", "TreeLock", "read_files"]

logger = logging.getLogger(__name__)

_KEY = re.compile("[0-9a-f]{64}")
_TOOL_CACHE = re.compile(r"[A-Za-z0-9._-]+-[0-9]+")
_RECORD = "record.json"
_APP = "app"

ENV_FILES = 1000
ENV_BYTES = 64 * 1024
"""Of one file; Linux takes no longer variables than 128 KiB."""

Check = Callable[[], None]


@attrs.frozen(eq=False)
class TreeLock:
    """A lock on a directory, which no agent removes meanwhile."""

    directory: Path
    record: Mapping[str, Any]
    _fd: int

    @property
    def path(self) -> Path:
        """The tree."""
        return self.directory / _APP

    def release(self) -> None:
        """Unlock the tree; to be called once."""
        os.close(self._fd)


@attrs.frozen
class KeptTree:
    """What may be removed: a tree, or the cache of a tool.

    used: seconds since the epoch.
    """

    path: Path
    size: int
    used: float


@attrs.define(eq=False, kw_only=True)
class TreeDir:
    """directory: of the cache.
    own: the directory of this agent in it, on the same disk, which is removed when it is dead.
    """

    directory: Path
    own: Path
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)

    def prepare(self) -> None:
        """Make missing directories; raises `OSError`."""
        for path in (self._trees, self._tools):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def make_scratch(self) -> Path:
        """Make a directory with a name that stands in no other path."""
        # Resolved, since tools write what they get from getcwd(3) into files.
        scratch = self.own.resolve() / f"build-{next(self._numbers)}-{os.urandom(4).hex()}"
        for path in (scratch, scratch / "env", scratch / "home", scratch / "tmp"):
            path.mkdir(mode=0o700)
        return scratch

    def find(self, key: str) -> TreeLock | None:
        """Return the tree with a lock on it, None if it is missing or cannot be read."""
        directory = self._trees / key
        fd = _lock(directory, fcntl.LOCK_SH)
        if fd is None:
            return None
        try:
            record = json.loads((directory / _RECORD).read_bytes())
            os.utime(fd)
        except (OSError, ValueError) as exc:
            os.close(fd)
            logger.warning("removed a damaged build", extra={"key": key, "error": str(exc)})
            self.remove(directory)
            return None
        return TreeLock(directory, record, fd)

    def keep(self, scratch: Path, key: str, record: Mapping[str, Any], check: Check) -> TreeLock:
        """Turn `app` in a scratch directory into a kept tree, and lock it."""
        app = scratch / _APP
        settled = settle_tree(app, check)
        finished = scratch / "finished"
        finished.mkdir(mode=0o700)
        app.rename(finished / _APP)
        whole = {**record, **attrs.asdict(settled), "made_at": str(app)}
        (finished / _RECORD).write_text(json.dumps(whole), encoding="utf-8")
        target = self._trees / key
        fd = os.open(finished, DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)  # Before it has a name under which it may be removed.
            if (other := self._place(finished, key)) is None:
                return TreeLock(target, whole, fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return other

    def _place(self, finished: Path, key: str) -> TreeLock | None:
        """Give a tree its name; return the one that has the name, if another agent was quicker."""
        while True:
            try:
                finished.rename(self._trees / key)
            except OSError as exc:
                if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                if (other := self.find(key)) is not None:
                    return other
            else:
                return None

    def kept(self) -> Iterator[KeptTree]:
        """Go through all that may be removed."""
        for path in _entries(self._trees, _KEY):
            with contextlib.suppress(OSError, ValueError, KeyError):
                record = json.loads((path / _RECORD).read_bytes())
                yield KeptTree(path, int(record["disk_bytes"]), path.stat().st_mtime)
        for path in _entries(self._tools, _TOOL_CACHE):
            with contextlib.suppress(OSError, ValueError):
                size = int(_size_file(path).read_text(encoding="ascii"))
                yield KeptTree(path, size, path.stat().st_mtime)

    def remove(self, path: Path) -> bool:
        """Remove a tree or the cache of a tool; False if it is in use or gone."""
        fd = _lock(path, fcntl.LOCK_EX)
        if fd is None:
            return False
        try:
            self.discard(path)
        finally:
            os.close(fd)
        return True

    def discard(self, path: Path) -> None:
        """Remove a tree, whoever uses it; nothing happens if it is gone."""
        trash = self.own / f"trash-{next(self._numbers)}"
        try:
            path.rename(trash)
            _size_file(path).unlink(missing_ok=True)
            remove_tree(trash, lambda: None)
        except FileNotFoundError:
            return
        except OSError as exc:
            logger.warning("cannot remove", extra={"path": str(trash), "error": str(exc)})

    def take_tool_cache(self, name: str) -> TreeLock:
        """Return the first directory of a tool that nobody uses, with a lock on it."""
        for number in itertools.count():
            path = self._tools / f"{name}-{number}"
            path.mkdir(mode=0o700, exist_ok=True)
            fd = _lock(path, fcntl.LOCK_EX)
            if fd is not None:
                os.utime(fd)
                return TreeLock(path, {}, fd)
        raise AssertionError  # pragma: no cover  -- count() does not end

    def weigh_tool_cache(self, path: Path, check: Check) -> None:
        """Note how much a tool has kept, so that it counts for the size of the cache."""
        size = 0
        for root, _, names in os.walk(path):
            for name in names:
                check()
                with contextlib.suppress(FileNotFoundError):
                    size += (Path(root) / name).lstat().st_size
        _size_file(path).write_text(str(size), encoding="ascii")

    @property
    def _trees(self) -> Path:
        return self.directory / "builds"

    @property
    def _tools(self) -> Path:
        return self.directory / "builders"


def read_files(directory: Path) -> dict[str, bytes]:
    """Read all files of a directory; raises `OSError`, also for what is no small file."""
    files: dict[str, bytes] = {}
    for path in sorted(directory.iterdir()):
        if len(files) == ENV_FILES:
            raise OSError(errno.E2BIG, f"expected at most {ENV_FILES} files")
        if path.is_symlink() or not path.is_file():
            raise OSError(errno.EINVAL, f"{path.name!a}: expected a file")
        with path.open("rb") as file:
            files[path.name] = file.read(ENV_BYTES + 1)
        if len(files[path.name]) > ENV_BYTES:
            raise OSError(errno.E2BIG, f"{path.name!a}: expected at most {ENV_BYTES} bytes")
    return files


def _entries(directory: Path, name: re.Pattern[str]) -> list[Path]:
    return [path for path in directory.iterdir() if name.fullmatch(path.name)]


def _size_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.size")


def _lock(path: Path, kind: int) -> int | None:
    """Open and lock a directory; None if it is gone or locked by another."""
    try:
        fd = os.open(path, DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), path.lstat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None

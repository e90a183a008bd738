"""The cache of archives on a real disk: each step runs in a thread."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
import trio

from smartmob_agent.config.settings import Cache
from smartmob_agent.errors import StartError, TransientError
from smartmob_agent.source.cache.archive_dir import ArchiveDir
from smartmob_agent.source.cache.archive_lock import ArchiveLock
from smartmob_agent.source.cache.etags import KnownETag
from smartmob_agent.source.cache.seam import ArchiveCache, ArchivePart, HeldArchive
from smartmob_agent.source.disk.free_space import FreeSpace
from smartmob_agent.source.disk.owned_dir import open_owned_dir, remove_dead
from smartmob_agent.source.disk.rmtree import remove_tree
from smartmob_agent.source.disk.timeouts import REMOVE_OWN_TIMEOUT
from smartmob_agent.source.trees.disk import DiskTrees
from smartmob_agent.source.trees.tree_dir import TreeDir

__all__ = ["open_cache"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

THREADS = 4
"""More would not make a disk faster, and would leave fewer threads for everything else."""

check_cancelled = trio.from_thread.check_cancelled


@contextlib.asynccontextmanager
async def open_cache(
    directory: Path,
    limits: Cache,
    *,
    min_free_bytes: int,
    check_archive: Callable[[Path], None],
) -> AsyncGenerator[ArchiveCache]:
    """Open the cache below `directory`, which is made if it is missing.

    Unfinished archives of agents that were killed are removed first, those of this one at the
    end.

    min_free_bytes: of the disk, which stay free.
    check_archive: raises `SourceError` when a file is no archive; called in a thread of trio's.

    Raises `StartError` when there can be no cache.
    """
    archives = ArchiveDir(
        directory=directory, limit_bytes=limits.cache_bytes, min_free_bytes=min_free_bytes
    )
    with contextlib.ExitStack() as stack:
        try:
            trees = await trio.to_thread.run_sync(_make_own, stack, archives)
        except OSError as exc:
            raise StartError(f"cannot keep archives in {directory}: {exc.strerror}") from exc
        try:
            await trio.to_thread.run_sync(remove_dead, directory, check_cancelled)
            await trio.to_thread.run_sync(_trim, archives)
            yield _DiskCache(
                archives=archives,
                trees=DiskTrees(
                    trees=trees,
                    min_free_bytes=min_free_bytes,
                    trim=partial(_trim, archives),
                    limiter=trio.CapacityLimiter(THREADS),
                ),
                own=trees.own,
                check_archive=check_archive,
            )
        finally:
            with trio.move_on_after(REMOVE_OWN_TIMEOUT, shield=True):
                await trio.to_thread.run_sync(_remove_own, trees.own)


def _make_own(stack: contextlib.ExitStack, archives: ArchiveDir) -> TreeDir:
    """Make the directories, of which `stack` holds the agent's own; in a thread."""
    archives.prepare()
    own = stack.enter_context(open_owned_dir(archives.directory))
    archives.trees = TreeDir(directory=archives.directory, own=own)
    archives.trees.prepare()
    return archives.trees


@attrs.define(eq=False, kw_only=True)
class _DiskCache:
    """own: the directory of this agent, for unfinished archives."""

    archives: ArchiveDir
    trees: DiskTrees
    own: Path
    check_archive: Callable[[Path], None]
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(THREADS))
    _checker: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)

    async def find(self, sha256: str) -> HeldArchive | None:
        lock = await self.run(partial(self.archives.find, sha256, check_cancelled))
        return None if lock is None else _Held(cache=self, lock=lock)

    def make_part(self) -> ArchivePart:
        return _Part(cache=self, path=self._make_path())

    async def recall(self, url: str) -> KnownETag | None:
        return await self.run(partial(self.archives.recall, url))

    async def remember(self, url: str, known: KnownETag) -> None:
        await self.run(partial(self.archives.remember, url, known, self._make_path()))

    async def uploads(self) -> Sequence[tuple[str, float]]:
        return await self.run(lambda: list(self.archives.uploads()))

    async def expire(self, sha256: str, age: float) -> float:
        return await self.run(partial(self.archives.expire, sha256, age))

    async def make_room(self) -> None:
        await self.run(self.archives.make_room)

    async def check(self, path: Path) -> None:
        """Raise `SourceError` when a file is no archive; one at a time: xz may take 65 MiB."""
        await self.run(partial(self.check_archive, path), self._checker)

    async def run(self, step: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
        """Run a step in a thread."""
        try:
            return await trio.to_thread.run_sync(step, limiter=limiter or self._limiter)
        except OSError as exc:
            raise TransientError(f"cannot keep the source: {exc.strerror or exc}") from exc

    def _make_path(self) -> Path:
        return self.own / str(next(self._numbers))


@attrs.define(eq=False, kw_only=True)
class _Part:
    cache: _DiskCache
    path: Path
    _digest: hashlib._Hash = attrs.field(factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def write(self, data: bytes | bytearray) -> None:
        await self.cache.run(partial(self._write, data))

    async def check(self) -> None:
        await self.cache.check(self.path)

    async def keep(self, sha256: str, *, uploaded: bool = False) -> HeldArchive:
        keep = partial(_keep, self.cache.archives, self.path, sha256, uploaded=uploaded)
        return _Held(cache=self.cache, lock=await self.cache.run(keep))

    async def remove(self) -> None:
        # One file: as long as the disk takes.
        with trio.CancelScope(shield=True):
            await self.cache.run(partial(self.path.unlink, missing_ok=True))

    def _write(self, data: bytes | bytearray) -> None:
        with self.path.open("ab") as file:
            min_free_bytes = self.cache.archives.min_free_bytes
            FreeSpace(fd=file.fileno(), min_free_bytes=min_free_bytes).take(len(data))
            file.write(data)
        self._digest.update(data)


@attrs.frozen(eq=False, kw_only=True)
class _Held:
    cache: _DiskCache
    lock: ArchiveLock

    @property
    def path(self) -> Path:
        return self.lock.path

    @property
    def exists(self) -> bool:
        return self.lock.exists

    async def release(self) -> None:
        self.lock.release()
        if self.cache.archives.full:
            await trio.to_thread.run_sync(_trim, self.cache.archives)
        else:
            await trio.lowlevel.checkpoint()


def _keep(archives: ArchiveDir, part: Path, sha256: str, *, uploaded: bool) -> ArchiveLock:
    lock = archives.keep(part, sha256, check_cancelled, uploaded=uploaded)
    _trim(archives)
    return lock


def _trim(archives: ArchiveDir) -> None:
    """Trim; log an error of the disk and go on: the next call may succeed."""
    try:
        archives.trim()
    except OSError as exc:
        extra = {"path": str(archives.directory), "error": str(exc)}
        logger.warning("cannot trim the cache", extra=extra)


def _remove_own(own: Path) -> None:
    try:
        remove_tree(own, check_cancelled)
    except OSError as exc:
        logger.warning("cannot remove", extra={"path": str(own), "error": str(exc)})

"""The store of trees on a real disk: each step runs in a thread."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio

from smartmob_agent.errors import TransientError, UnpackError
from smartmob_agent.source.disk.free_space import DISK_FULL
from smartmob_agent.source.disk.rmtree import remove_tree
from smartmob_agent.source.trees.seam import HeldTree, ScratchTree, ToolCache
from smartmob_agent.source.trees.tree_dir import TreeDir, TreeLock, read_files

__all__ = ["DiskTrees"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_INTERVAL = 0.5
"""Seconds between two looks at the free space of the disk; a fast disk takes a GB meanwhile."""

check_cancelled = trio.from_thread.check_cancelled


@attrs.frozen(eq=False, kw_only=True)
class DiskTrees:
    """Trees on a disk.

    min_free_bytes: of the disk, which stay free.
    trim: removes what the cache has no room for.
    limiter: of the threads.
    """

    trees: TreeDir
    min_free_bytes: int
    trim: Callable[[], None]
    limiter: trio.CapacityLimiter

    async def find(self, key: str) -> HeldTree | None:
        lock = await self.run(partial(self.trees.find, key))
        return None if lock is None else _Held(self, lock)

    async def open_scratch(self) -> ScratchTree:
        return _Scratch(self, await self.run(self.trees.make_scratch))

    async def take_tool_cache(self, name: str) -> ToolCache:
        return _ToolCache(self, await self.run(partial(self.trees.take_tool_cache, name)))

    async def run(self, step: Callable[[], T]) -> T:
        """Run a step in a thread."""
        try:
            return await trio.to_thread.run_sync(step, limiter=self.limiter)
        except OSError as exc:
            raise TransientError(f"cannot keep the build: {exc.strerror or exc}") from exc

    def remove(self, path: Path) -> None:
        """Remove a directory; in a thread that trio started."""
        try:
            remove_tree(path, check_cancelled)
        except OSError as exc:
            logger.warning("cannot remove", extra={"path": str(path), "error": str(exc)})

    def is_full(self) -> bool:
        """Whether too little of the disk is free; a disk that does not say so is not full."""
        try:
            disk = os.statvfs(self.trees.own)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize < self.min_free_bytes


@attrs.frozen(eq=False)
class _Held:
    _store: DiskTrees
    _lock: TreeLock

    @property
    def path(self) -> Path:
        return self._lock.path

    @property
    def record(self) -> Mapping[str, Any]:
        return self._lock.record

    async def release(self) -> None:
        self._lock.release()
        await trio.lowlevel.checkpoint()

    async def discard(self) -> None:
        await self._store.run(partial(self._store.trees.discard, self._lock.directory))


@attrs.frozen(eq=False)
class _Scratch:
    _store: DiskTrees
    _path: Path

    @property
    def app(self) -> Path:
        return self._path / "app"

    @property
    def env(self) -> Path:
        return self._path / "env"

    @property
    def home(self) -> Path:
        return self._path / "home"

    @property
    def temporary(self) -> Path:
        return self._path / "tmp"

    async def read_env(self) -> Mapping[str, bytes]:
        return await self._store.run(partial(_judged, "ENV_DIR", read_files, self.env))

    async def keep(self, key: str, record: Mapping[str, Any]) -> HeldTree:
        trees = self._store.trees
        keep = partial(trees.keep, self._path, key, record, check_cancelled)
        lock = await self._store.run(partial(_judged, "APP_DIR", keep))
        held = _Held(self._store, lock)
        try:
            await self._store.run(self._store.trim)
        except BaseException:
            lock.release()
            raise
        return held

    async def wait_disk_full(self) -> None:
        while not await self._store.run(self._store.is_full):  # noqa: ASYNC110  # none tells
            await trio.sleep(LOOK_INTERVAL)

    async def remove(self) -> None:
        await trio.to_thread.run_sync(self._store.remove, self._path, limiter=self._store.limiter)


@attrs.frozen(eq=False)
class _ToolCache:
    _store: DiskTrees
    _lock: TreeLock

    @property
    def path(self) -> Path:
        return self._lock.directory

    async def weigh(self) -> None:
        weigh = partial(self._store.trees.weigh_tool_cache, self.path, check_cancelled)
        await self._store.run(weigh)

    def release(self) -> None:
        self._lock.release()


def _judged(what: str, step: Callable[..., T], *args: object) -> T:
    """Blame whoever made the files, unless the disk is full."""
    try:
        return step(*args)
    except OSError as exc:
        if exc.errno in DISK_FULL:
            raise
        raise UnpackError(f"{what}: {exc.strerror or exc}") from exc

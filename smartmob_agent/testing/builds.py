"""A builder that does what a test tells it, and a store of trees without a disk."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import trio

from smartmob_agent.build.seam import BuildDirectories
from smartmob_agent.testing.nowhere import NOWHERE

__all__ = ["FakeBuilder", "FakeScratch", "FakeToolCache", "FakeTree", "FakeTrees"]


class FakeBuilder:
    """A builder whose programs are children of a `FakeSpawner`.

    Their first arguments are `NAME/detect` and `NAME/build`; a test lets them exit.

    takes: whether it builds apps; None if its program is asked for each of them.
    current_version: is part of what a build is known by.
    errors: raised by the next calls of `version`, one each.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        takes: bool | None = True,
        version: str = "1",
        errors: Iterable[Exception] = (),
    ) -> None:
        self.name = name
        self.takes = takes
        self.current_version = version
        self.errors = list(errors)

    def wants(self, files: Collection[str]) -> bool | None:  # noqa: ARG002  # told beforehand
        return self.takes

    def detect_command(self, app: Path) -> tuple[str, ...]:
        return f"{self.name}/detect", str(app)

    def build_command(self, directories: BuildDirectories) -> tuple[str, ...]:
        places = (directories.app, directories.env, directories.cache)
        return f"{self.name}/build", *map(str, places)

    async def version(self) -> str:
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        return self.current_version


class FakeTree:
    """A tree in a `FakeTrees`.

    held: how many users hold it.
    damaged: whether the next copy finds out that it is.
    """

    def __init__(self, store: FakeTrees, key: str, record: Mapping[str, Any]) -> None:
        self._store = store
        self._key = key
        self.record = record
        self.path = NOWHERE / "builds" / key
        self.held = 0
        self.damaged = False

    async def release(self) -> None:
        self.held -= 1
        await trio.lowlevel.checkpoint()

    async def discard(self) -> None:
        self._store.trees.pop(self._key, None)
        await trio.lowlevel.checkpoint()


class FakeScratch:
    """A directory in which nothing is.

    removed: whether `remove` was called.
    full: set when the disk is full.
    """

    def __init__(self, store: FakeTrees, number: int) -> None:
        self._store = store
        self.path = NOWHERE / "scratch" / str(number)
        self.removed = False
        self.full = trio.Event()

    @property
    def app(self) -> Path:
        return self.path / "app"

    @property
    def env(self) -> Path:
        return self.path / "env"

    @property
    def home(self) -> Path:
        return self.path / "home"

    @property
    def temporary(self) -> Path:
        return self.path / "tmp"

    async def read_env(self) -> Mapping[str, bytes]:
        await trio.lowlevel.checkpoint()
        return dict(self._store.env)

    async def keep(self, key: str, record: Mapping[str, Any]) -> FakeTree:
        await trio.lowlevel.checkpoint()
        if self._store.errors:
            raise self._store.errors.pop(0)
        tree = self._store.trees.setdefault(key, FakeTree(self._store, key, record))
        tree.held += 1
        return tree

    async def wait_disk_full(self) -> None:
        await self.full.wait()

    async def remove(self) -> None:
        self.removed = True
        await trio.lowlevel.checkpoint()


class FakeToolCache:
    """A directory in which nothing is.

    released: whether `release` was called.
    """

    def __init__(self, name: str) -> None:
        self.path = NOWHERE / "builders" / name
        self.released = False

    async def weigh(self) -> None:
        await trio.lowlevel.checkpoint()

    def release(self) -> None:
        self.released = True


class FakeTrees:
    """Keeps no files, only which trees there are.

    trees: by key.
    env: name → content of the files that each build leaves in its ENV_DIR.
    errors: raised by the next calls of `FakeScratch.keep`, one each.
    scratches, tool_caches: all that were made, in order.
    """

    def __init__(self) -> None:
        self.trees: dict[str, FakeTree] = {}
        self.env: dict[str, bytes] = {}
        self.errors: list[Exception] = []
        self.scratches: list[FakeScratch] = []
        self.tool_caches: list[FakeToolCache] = []
        self._numbers = itertools.count()

    async def find(self, key: str) -> FakeTree | None:
        await trio.lowlevel.checkpoint()
        tree = self.trees.get(key)
        if tree is not None:
            tree.held += 1
        return tree

    async def open_scratch(self) -> FakeScratch:
        await trio.lowlevel.checkpoint()
        scratch = FakeScratch(self, next(self._numbers))
        self.scratches.append(scratch)
        return scratch

    async def take_tool_cache(self, name: str) -> FakeToolCache:
        await trio.lowlevel.checkpoint()
        cache = FakeToolCache(name)
        self.tool_caches.append(cache)
        return cache

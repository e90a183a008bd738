"""What every `TreeStore` holds to, the real one and the fake."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from smartmob_agent.source.cache.seam import ArchiveCache
from smartmob_agent.source.trees.seam import HeldTree
from smartmob_agent.testing import FakeCache
from tests.source.caches import open_disk_cache

Open = Callable[[Path], AbstractAsyncContextManager[ArchiveCache]]
KEY = "a" * 64


def open_real(directory: Path) -> AbstractAsyncContextManager[ArchiveCache]:
    return open_disk_cache(directory / "cache")


@contextlib.asynccontextmanager
async def open_fake(_directory: Path) -> AsyncGenerator[ArchiveCache]:
    yield FakeCache()


every_store = pytest.mark.parametrize("open_one", [open_real, open_fake], ids=["real", "fake"])


async def keep(cache: ArchiveCache, builder: str) -> HeldTree:
    scratch = await cache.trees.open_scratch()
    if scratch.env.exists():
        scratch.app.mkdir()
    tree = await scratch.keep(KEY, {"builder": builder})
    await scratch.remove()
    return tree


async def is_here(cache: ArchiveCache) -> bool:
    tree = await cache.trees.find(KEY)
    if tree is not None:
        await tree.release()
    return tree is not None


@every_store
async def test_what_was_kept_is_found(open_one: Open, tmp_path: Path) -> None:
    async with open_one(tmp_path) as cache:
        assert not await is_here(cache)
        tree = await keep(cache, "first")
        found = await cache.trees.find(KEY)
        assert found is not None
        assert found.record["builder"] == tree.record["builder"] == "first"
        assert found.path == tree.path
        await found.release()
        await tree.release()


@every_store
async def test_the_first_one_stays(open_one: Open, tmp_path: Path) -> None:
    async with open_one(tmp_path) as cache:
        trees = [await keep(cache, name) for name in ("first", "second")]
        assert [tree.record["builder"] for tree in trees] == ["first", "first"]
        for tree in trees:
            await tree.release()


@every_store
async def test_what_is_in_use_stays_when_room_is_made(open_one: Open, tmp_path: Path) -> None:
    async with open_one(tmp_path) as cache:
        tree = await keep(cache, "first")
        await cache.make_room()
        assert await is_here(cache)
        await tree.release()
        await cache.make_room()
        assert not await is_here(cache)


@every_store
async def test_a_damaged_tree_can_be_given_up_while_it_is_in_use(
    open_one: Open, tmp_path: Path
) -> None:
    async with open_one(tmp_path) as cache:
        tree = await keep(cache, "first")
        await tree.discard()
        assert not await is_here(cache)
        await tree.release()


@every_store
async def test_a_scratch_directory_has_its_places(open_one: Open, tmp_path: Path) -> None:
    async with open_one(tmp_path) as cache:
        first, second = [await cache.trees.open_scratch() for _ in range(2)]
        places = {
            place
            for scratch in (first, second)
            for place in (scratch.app, scratch.env, scratch.home, scratch.temporary)
        }
        assert len(places) == 8
        assert await first.read_env() == {}


@every_store
async def test_a_tool_has_a_directory(open_one: Open, tmp_path: Path) -> None:
    async with open_one(tmp_path) as cache:
        tools = await cache.trees.take_tool_cache("pip")
        assert tools.path.name.startswith("pip")
        await tools.weigh()
        tools.release()

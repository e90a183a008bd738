"""What every `ArchiveCache` holds to, the real one and the fake."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from smartmob_agent.source.cache.etags import KnownETag
from smartmob_agent.source.cache.seam import ArchiveCache, HeldArchive
from smartmob_agent.testing import FakeCache
from tests.source.caches import open_disk_cache

Open = Callable[[Path], AbstractAsyncContextManager[ArchiveCache]]

CONTENT = b"content"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def open_real(directory: Path) -> AbstractAsyncContextManager[ArchiveCache]:
    return open_disk_cache(directory / "cache")


@contextlib.asynccontextmanager
async def open_fake(_directory: Path) -> AsyncGenerator[ArchiveCache]:
    yield FakeCache()


every_cache = pytest.mark.parametrize("open_one", [open_real, open_fake], ids=["real", "fake"])


async def keep(cache: ArchiveCache, *, uploaded: bool = False) -> HeldArchive:
    part = cache.make_part()
    await part.write(CONTENT[:3])
    await part.write(bytearray(CONTENT[3:]))
    assert part.sha256 == DIGEST
    archive = await part.keep(part.sha256, uploaded=uploaded)
    await part.remove()
    return archive


async def is_here(cache: ArchiveCache) -> bool:
    archive = await cache.find(DIGEST)
    if archive is not None:
        await archive.release()
    return archive is not None


@every_cache
async def test_what_was_kept_is_found(open_one: Open, tmp_path: Path) -> None:
    async with open_one(tmp_path) as cache:
        assert await cache.find(DIGEST) is None
        archive = await keep(cache)
        found = await cache.find(DIGEST)
        assert found is not None
        assert (found.path, found.exists) == (archive.path, True)
        await archive.release()
        await found.release()


@every_cache
async def test_each_part_has_a_place_of_its_own(open_one: Open, tmp_path: Path) -> None:
    """One that was never written may be removed, too, and more than once."""
    async with open_one(tmp_path) as cache:
        one, other = cache.make_part(), cache.make_part()
        assert one.path != other.path
        for _ in range(2):
            await one.remove()


@every_cache
async def test_etags_are_remembered(open_one: Open, tmp_path: Path) -> None:
    async with open_one(tmp_path) as cache:
        assert await cache.recall("http://h/") is None
        for etag in ('"1"', '"2"'):
            await cache.remember("http://h/", KnownETag(sha256=DIGEST, etag=etag))
        assert await cache.recall("http://h/") == KnownETag(sha256=DIGEST, etag='"2"')


@every_cache
async def test_an_upload_that_is_held_does_not_expire(open_one: Open, tmp_path: Path) -> None:
    """Then it does, unless it was used."""
    async with open_one(tmp_path) as cache:
        archive = await keep(cache, uploaded=True)
        assert await cache.expire(DIGEST, 3600) > 3500
        [(sha256, unused)] = await cache.uploads()
        assert (sha256, unused < 100) == (DIGEST, True)
        await archive.release()
        assert await cache.expire(DIGEST, 3600) > 3500
        for _ in range(2):
            assert await cache.expire(DIGEST, 0) == 0
            assert not await is_here(cache)


@every_cache
async def test_a_download_does_not_expire(open_one: Open, tmp_path: Path) -> None:
    async with open_one(tmp_path) as cache:
        archive = await keep(cache)
        await archive.release()
        assert (await cache.expire(DIGEST, 0), await cache.uploads()) == (0, [])
        assert await is_here(cache)


@every_cache
@pytest.mark.parametrize(("uploaded", "held"), [(False, False), (False, True), (True, False)])
async def test_a_full_disk_costs_downloads_that_nobody_holds(
    open_one: Open, tmp_path: Path, *, uploaded: bool, held: bool
) -> None:
    async with open_one(tmp_path) as cache:
        archive = await keep(cache, uploaded=uploaded)
        if not held:
            await archive.release()
        await cache.make_room()
        assert await is_here(cache) is (uploaded or held)
        if held:
            await archive.release()


@every_cache
async def test_what_is_cancelled_is_released_and_removed(open_one: Open, tmp_path: Path) -> None:
    """Whoever cleans up may be cancelled."""
    async with open_one(tmp_path) as cache:
        part = cache.make_part()
        await part.write(b"PK")
        archive = await keep(cache, uploaded=True)
        with trio.CancelScope() as scope:
            scope.cancel()
            await archive.release()
        with trio.CancelScope() as scope:
            scope.cancel()
            await part.remove()
        assert not await trio.Path(part.path).exists()
        await cache.expire(DIGEST, 0)
        assert not await is_here(cache)

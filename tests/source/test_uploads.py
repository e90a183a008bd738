"""Uploads, on the virtual clock."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator

import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import Cache, SourceLimits
from smartmob_agent.errors import TransientError
from smartmob_agent.source.digests import upload_url
from smartmob_agent.source.store import Store, open_store
from smartmob_agent.testing import FakeCache, FakeFetcher

Clock = trio.testing.MockClock

HOUR = 3600


@contextlib.asynccontextmanager
async def open_one(cache: FakeCache) -> AsyncGenerator[Store]:
    async with open_store(FakeFetcher(), cache, Cache(), SourceLimits()) as store:
        yield store


async def upload(store: Store, content: bytes = b"a") -> str:
    pieces = [content, b""]

    async def read() -> bytes:
        await trio.lowlevel.checkpoint()
        return pieces.pop(0)

    return (await store.uploads.receive(read)).url


def count(cache: FakeCache) -> int:
    return len(cache.archives)


async def test_an_upload_that_nobody_uses_goes_after_an_hour(autojump_clock: Clock) -> None:
    """Each an hour after it came."""
    cache = FakeCache()
    async with open_one(cache) as store:
        await upload(store, b"a")
        await trio.sleep(10)
        await upload(store, b"b")
        await trio.sleep(HOUR - 11)
        assert count(cache) == 2
        await trio.sleep(2)
        assert count(cache) == 1
        await trio.sleep(10)
        assert count(cache) == 0


async def test_an_upload_stays_while_it_is_needed(autojump_clock: Clock) -> None:
    """Also by who has not asked for it yet, or waits for the next try; then for an hour more."""
    cache = FakeCache()
    async with open_one(cache) as store:
        url = await upload(store)
        sources = [store.open_source(url), store.open_source(url)]
        await trio.sleep(5 * HOUR)
        await sources[0].get()
        await trio.sleep(5 * HOUR)
        await sources[0].aclose()
        await trio.sleep(5 * HOUR)
        await sources[1].aclose()
        await trio.sleep(HOUR - 1)
        assert count(cache) == 1
        await trio.sleep(2)
        assert count(cache) == 0


async def test_a_use_by_another_way_counts_too(autojump_clock: Clock) -> None:
    """Such as by its digest, or by another agent on the same directory."""
    cache = FakeCache()
    async with open_one(cache) as store:
        await upload(store)
        await trio.sleep(HOUR / 2)
        archive = await cache.find(hashlib.sha256(b"a").hexdigest())
        assert archive is not None
        await trio.sleep(HOUR)
        assert count(cache) == 1
        await archive.release()
        await trio.sleep(HOUR + 1)
        assert count(cache) == 0


async def test_uploads_to_an_agent_that_is_dead_go_too(autojump_clock: Clock) -> None:
    """An hour after they were used."""
    cache = FakeCache()
    async with open_one(cache) as store:
        await upload(store)
        await trio.sleep(HOUR / 2)
    async with open_one(cache):
        await trio.sleep(HOUR / 2 - 1)
        assert count(cache) == 1
        await trio.sleep(2)
        assert count(cache) == 0


async def test_an_upload_that_is_needed_in_the_moment_of_its_end_stays(
    autojump_clock: Clock,
) -> None:
    """It is needed while its removal is under way, which finds it held."""

    class Slow(FakeCache):
        async def expire(self, sha256: str, age: float) -> float:
            await trio.sleep(1)
            return await super().expire(sha256, age)

    cache = Slow()
    async with open_one(cache) as store:
        url = await upload(store)
        await trio.sleep(HOUR + 0.5)
        source = store.open_source(url)
        await source.get()
        await trio.sleep(2 * HOUR)
        assert count(cache) == 1
        await source.aclose()


async def test_what_cannot_be_removed_is_tried_again_later(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeCache):
        async def expire(self, sha256: str, age: float) -> float:
            if trio.current_time() < 2 * HOUR:
                raise TransientError("disk")
            return await super().expire(sha256, age)

    cache = Broken()
    async with open_one(cache) as store:
        await upload(store)
        await trio.sleep(2 * HOUR + 1)
        assert count(cache) == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_full_disk_costs_other_archives(autojump_clock: Clock) -> None:
    """So that the next try has room."""
    cache = FakeCache()
    error = TransientError("disk full")
    error.__cause__ = OSError(28, "No space left on device")
    cache.errors = [error]
    async with open_one(cache) as store:
        source = store.open_source("http://host/")
        with pytest.raises(TransientError):
            await source.get()
        await source.get()
        await source.aclose()
        assert count(cache) == 1
        cache.errors = [error]
        with pytest.raises(TransientError):
            await upload(store)
        assert count(cache) == 0
        await source.make_room_after(error)


async def test_a_name_that_is_none_is_a_final_failure() -> None:
    """HTTP does not let it in, but a program may ask for it."""
    async with open_one(FakeCache()) as store:
        source = store.open_source(upload_url("x"))
        with pytest.raises(Exception, match="expected smartmob:sha256: and 64"):
            await source.get()
        await source.aclose()

"""Archives for processes, each of them downloaded once: on the virtual clock."""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import Cache, SourceLimits
from smartmob_agent.errors import (
    CutShortError,
    DownloadError,
    TransientDownloadError,
    TransientError,
)
from smartmob_agent.source.download.seam import Fetched, FetchRequest, PartialFile
from smartmob_agent.source.shared_download import Download
from smartmob_agent.source.store import Source, Store, open_store
from smartmob_agent.testing import FakeCache, FakeFetcher

Clock = trio.testing.MockClock

URL = "http://host/app.zip"
EMPTY = hashlib.sha256(b"").hexdigest()
OTHER = "0" * 64


class World:
    """A store between a fake network and a fake disk."""

    def __init__(self, fetcher: FakeFetcher | None = None) -> None:
        self.fetcher = fetcher or FakeFetcher()
        self.cache = FakeCache()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[Store]:
        opening = open_store(self.fetcher, self.cache, Cache(), SourceLimits())
        async with opening as store:
            yield store

    @property
    def downloads(self) -> int:
        return len(self.fetcher.requests)

    @property
    def held(self) -> int:
        """How often the only archive is held."""
        [archive] = self.cache.archives.values()
        return archive.held

    @property
    def is_clean(self) -> bool:
        """Whether nothing is held, and nothing incomplete is left."""
        return all(part.removed for part in self.cache.parts) and not any(
            archive.held for archive in self.cache.archives.values()
        )


async def get_once(store: Store, url: str = URL, *, sha256: str | None = None) -> Path:
    source = store.open_source(url, sha256=sha256)
    try:
        return await source.get()
    finally:
        await source.aclose()


async def test_what_many_want_at_once_is_downloaded_once(autojump_clock: Clock) -> None:
    """Each of them waits for the one download, and holds what it brings."""
    world = World(FakeFetcher(delay=5))
    async with world.open() as store:
        sources = [store.open_source(URL) for _ in range(50)]
        async with trio.open_nursery() as nursery:
            for source in sources:
                nursery.start_soon(source.get)
        assert {source.sha256 for source in sources} == {EMPTY}
        for source in sources:
            assert world.held == 1
            await source.aclose()
    assert trio.current_time() == 5
    assert world.downloads == 1
    assert world.is_clean


async def test_who_comes_while_it_is_unpacked_shares_it_too() -> None:
    """Until the first has what it wants: then the source may have changed, for all one knows."""
    world = World()
    async with world.open() as store:
        first = store.open_source(URL)
        await first.get()
        await get_once(store)
        assert world.downloads == 1
        await get_once(store)
        assert world.downloads == 2
        await first.aclose()
    assert world.is_clean


async def test_newcomers_share_a_download_that_another_has_left(autojump_clock: Clock) -> None:
    """It is still on its way, and nobody needs another one beside it."""
    world = World(FakeFetcher(delay=5))
    async with world.open() as store, trio.open_nursery() as nursery:
        first, second, third = (store.open_source(URL) for _ in range(3))
        nursery.start_soon(second.get)
        with trio.move_on_after(1):
            await first.get()
        await first.aclose()
        await third.get()
        await second.aclose()
        await third.aclose()
    assert (trio.current_time(), world.downloads) == (5, 1)
    assert world.is_clean


async def test_a_strong_etag_saves_the_next_download() -> None:
    """The server is asked, and sends nothing."""
    world = World(FakeFetcher(etag='"1"'))
    async with world.open() as store:
        path = await get_once(store)
        assert await get_once(store) == path
        assert (world.downloads, len(world.cache.archives)) == (2, 1)
        world.fetcher.etag = '"2"'
        await get_once(store)
        assert world.cache.etags[URL].etag == '"2"'
    assert world.is_clean


async def test_an_archive_that_is_not_in_the_cache_any_more_is_downloaded_in_full() -> None:
    """An ETag of something that one has not saves nothing."""
    world = World(FakeFetcher(etag='"1"'))
    async with world.open() as store:
        await get_once(store)
        world.cache.remove(EMPTY)
        await get_once(store)
    assert len(world.cache.archives) == 1


async def test_a_given_digest_saves_even_the_request() -> None:
    """Wherever the archive came from."""
    world = World()
    async with world.open() as store:
        path = await get_once(store, sha256=EMPTY)
        assert await get_once(store, "http://other/", sha256=EMPTY) == path
    assert world.downloads == 1


async def test_another_digest_than_the_given_one_is_final() -> None:
    """Nothing of the archive is kept."""
    world = World(FakeFetcher(etag='"1"'))
    async with world.open() as store:
        with pytest.raises(DownloadError) as info:
            await get_once(store, "http://user:secret@host/a?token", sha256=OTHER)
    expected = f"http://host/a: expected the SHA-256 digest {OTHER}, found {EMPTY}"
    assert str(info.value) == expected
    assert (world.cache.archives, world.cache.etags) == ({}, {})
    assert world.is_clean


class PartFirst(FakeFetcher):
    """The first transfer is cut short, which only the archive itself shows."""

    def __init__(self) -> None:
        super().__init__(ends_by_close=True, etag='"1"')

    async def fetch(self, request: FetchRequest) -> Fetched | None:
        fetched = await super().fetch(request)
        if fetched is not None and len(self.requests) == 1:
            return attrs.evolve(fetched, sha256=OTHER, size_bytes=4)
        return fetched


async def test_another_digest_may_be_that_of_a_part() -> None:
    """Where only the end of the connection said that this was all."""
    world = World(PartFirst())
    async with world.open() as store:
        source = store.open_source(URL, sha256=EMPTY)
        with pytest.raises(TransientDownloadError, match=r", perhaps cut short after 4 bytes$"):
            await source.get()
        await source.get()
        await source.aclose()
    assert (list(world.cache.archives), world.downloads) == ([EMPTY], 2)
    assert world.is_clean


async def test_what_turns_out_to_be_cut_short_is_downloaded_anew() -> None:
    """By all who have it, together; no ETag brings it back."""
    world = World(PartFirst())
    async with world.open() as store:
        sources = [store.open_source(f"{URL}?secret") for _ in range(2)]
        for source in sources:
            await source.get()
        for source in sources:
            with pytest.raises(TransientDownloadError, match=f"^{URL}: cut$"):
                await source.reject(CutShortError("cut"))
        assert [source.sha256 for source in sources] == [None, None]
        for source in sources:
            await source.get()
        for source in sources:
            assert source.sha256 == EMPTY
            await source.aclose()
    assert (world.downloads, world.cache.etags) == (2, {})
    assert world.is_clean


async def test_what_cannot_have_been_cut_is_not_downloaded_again() -> None:
    """Its length was known, or its digest is the right one."""
    for fetcher, sha256 in (
        (FakeFetcher(), None),
        (FakeFetcher(ends_by_close=True), EMPTY),
    ):
        world = World(fetcher)
        async with world.open() as store:
            source = store.open_source(URL, sha256=sha256)
            await source.get()
            await source.reject(CutShortError("cut"))
            assert source.sha256 == EMPTY
            await source.aclose()
            await source.reject(CutShortError("cut"))
        assert world.is_clean


async def test_an_error_reaches_all_who_wait(autojump_clock: Clock) -> None:
    """Each as an exception of its own, and the next one tries again."""
    world = World(FakeFetcher(errors=[DownloadError("404")], delay=1))
    errors: list[Exception] = []

    async def fail(source: Source) -> None:
        with pytest.raises(DownloadError, match="404") as info:
            await source.get()
        errors.append(info.value)

    async with world.open() as store:
        sources = [store.open_source(URL) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for source in sources:
                nursery.start_soon(fail, source)
        await sources[0].get()
        for source in sources:
            await source.aclose()
    assert len(set(errors)) == 3
    assert world.downloads == 2
    assert world.is_clean


class QuotaError(DownloadError):
    """An embedder's own: it cannot be made of its `args`."""

    __slots__ = ("limit",)

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"over the quota of {limit}")
        self.limit = limit
        self.user = "me"


async def test_an_error_of_any_class_reaches_those_who_wait() -> None:
    """With all that it says."""
    world = World(FakeFetcher(errors=[QuotaError(limit=5)]))
    async with world.open() as store:
        with pytest.raises(QuotaError, match="over the quota of 5") as info:
            await get_once(store)
    assert (info.value.limit, info.value.user) == (5, "me")


async def test_an_internal_error_reaches_those_who_wait() -> None:
    """It does not end the store."""
    world = World(FakeFetcher(errors=[ZeroDivisionError()]))
    async with world.open() as store:
        with pytest.raises(ZeroDivisionError):
            await get_once(store)
        await get_once(store)
    assert world.is_clean


async def test_who_is_cancelled_does_not_cancel_the_others(autojump_clock: Clock) -> None:
    """Not even the one who was first."""
    world = World(FakeFetcher(delay=5))
    async with world.open() as store, trio.open_nursery() as nursery:
        first, second = store.open_source(URL), store.open_source(URL)
        with trio.move_on_after(1):
            nursery.start_soon(second.get)
            await first.get()
        await first.aclose()
        await second.get()
        assert trio.current_time() == 5
        await second.aclose()
    assert world.downloads == 1
    assert world.is_clean


async def test_a_download_that_nobody_wants_any_more_ends(autojump_clock: Clock) -> None:
    """Nothing is left of it when the last one has left, and the next one begins anew."""
    world = World(FakeFetcher(delay=5))
    async with world.open() as store:
        for _ in range(3):
            with trio.move_on_after(1):
                await get_once(store)
            assert world.is_clean
    assert trio.current_time() == 3
    assert [part.removed for part in world.cache.parts] == [True] * 3


async def test_who_is_cancelled_may_wait_again(autojump_clock: Clock) -> None:
    """The download goes on meanwhile."""
    world = World(FakeFetcher(delay=5))
    async with world.open() as store:
        source = store.open_source(URL)
        with trio.move_on_after(1):
            await source.get()
        await trio.sleep(1)
        await source.get()
        await source.aclose()
    assert (trio.current_time(), world.downloads) == (5, 1)
    assert world.is_clean


async def test_who_is_cancelled_while_it_leaves_has_left(autojump_clock: Clock) -> None:
    """What it leaves is removed all the same."""
    world = World(FakeFetcher(delay=5))
    async with world.open() as store:
        source = store.open_source(URL)
        with trio.move_on_after(1):
            await source.get()
        with trio.CancelScope() as scope:
            scope.cancel()
            await source.aclose()
        await source.aclose()
        assert world.is_clean


async def test_a_download_that_was_cut_goes_on_where_it_was(autojump_clock: Clock) -> None:
    """The next try gets the file that the last one left; it goes with the last who wants it."""
    errors = [TransientDownloadError("cut short"), TransientDownloadError("cut short")]
    world = World(FakeFetcher(errors=errors))
    async with world.open() as store:
        source = store.open_source(URL)
        for _ in errors[:]:
            with pytest.raises(TransientDownloadError):
                await source.get()
        assert [part.removed for part in world.cache.parts] == [False]
        await source.aclose()
        assert [part.removed for part in world.cache.parts] == [True]


class CutFetcher(FakeFetcher):
    """Cuts each download short, but for the last one.

    partials: of all requests, with the bytes that were known then.
    """

    def __init__(self) -> None:
        super().__init__(errors=[TransientDownloadError("cut short")] * 2)
        self.partials: list[tuple[PartialFile, int]] = []

    async def fetch(self, request: FetchRequest) -> Fetched | None:
        self.partials.append((request.partial, request.partial.size_bytes))
        request.partial.size_bytes += 1
        return await super().fetch(request)


async def test_what_is_known_of_the_file_comes_with_it() -> None:
    """A fetcher has nothing to remember; a new archive gets a new file."""
    fetcher = CutFetcher()
    world = World(fetcher)
    async with world.open() as store:
        source = store.open_source(URL)
        for _ in fetcher.errors[:]:
            with pytest.raises(TransientDownloadError):
                await source.get()
        await source.get()
        await source.aclose()
        await get_once(store)
    first, second, third, other = fetcher.partials
    assert [size for _partial, size in fetcher.partials] == [0, 1, 2, 0]
    assert first[0] is second[0] is third[0] is not other[0]
    assert [part.path for part in world.cache.parts] == [first[0].path, other[0].path]


async def test_the_next_try_has_the_archive_already() -> None:
    """Unless a human has removed it."""
    world = World()
    async with world.open() as store:
        source = store.open_source(URL)
        assert await source.get() == await source.get()
        assert world.downloads == 1
        world.cache.remove(EMPTY)
        await source.get()
        assert world.downloads == 2
        await source.aclose()
    assert world.is_clean


async def test_the_progress_of_a_download_is_told(autojump_clock: Clock) -> None:
    """While it runs, to all who share it."""
    world = World(FakeFetcher(delay=5))
    async with world.open() as store, trio.open_nursery() as nursery:
        first, second = store.open_source(URL), store.open_source(URL)
        assert (first.download, second.download) == (None, None)
        nursery.start_soon(first.get)
        nursery.start_soon(second.get)
        await trio.sleep(1)
        assert first.download == second.download == Download(0, 0)
        await trio.sleep(5)
        assert [source.download for source in (first, second)] == [None, None]
        await first.aclose()
        await second.aclose()


async def test_a_full_disk_may_mend_itself() -> None:
    """Nothing is left; a note that cannot be written is no loss."""
    world = World(FakeFetcher(etag='"1"'))
    world.cache.errors = [TransientError("disk full")]
    async with world.open() as store:
        with pytest.raises(TransientError, match="disk full"):
            await get_once(store)
        assert world.is_clean
        world.cache.etag_errors = [TransientError("disk full")]
        await get_once(store)
    assert (world.is_clean, world.cache.etags) == (True, {})


async def test_a_shared_download_does_not_keep_the_context_of_a_request() -> None:
    """They are shared by others."""
    variable = contextvars.ContextVar[str]("variable", default="none")
    seen: list[str] = []

    class Fetcher(FakeFetcher):
        async def fetch(self, request: FetchRequest) -> Fetched | None:
            seen.append(variable.get())
            return await super().fetch(request)

    async with World(Fetcher()).open() as store:
        variable.set("request")
        await get_once(store)
    assert seen == ["none"]

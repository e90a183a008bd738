"""The store: archives for processes, each of them downloaded once.

Processes that want the same archive at the same time share one task of the store, which finds
the archive in the cache or downloads it, and ends when the last of them has left.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import attrs
import trio

from smartmob_agent.config.settings import Cache, SourceLimits
from smartmob_agent.errors import (
    CutShortError,
    TransientDownloadError,
    TransientError,
    copy_error,
)
from smartmob_agent.source.cache.seam import ArchiveCache, make_room_after
from smartmob_agent.source.digests import digest_of_upload
from smartmob_agent.source.download.seam import Fetcher
from smartmob_agent.source.download.urls import public_url
from smartmob_agent.source.shared_download import Demand, Download, SharedDownload
from smartmob_agent.source.uploads import Uploads

__all__ = ["Source", "Store", "open_store"]


@contextlib.asynccontextmanager
async def open_store(
    fetcher: Fetcher, cache: ArchiveCache, limits: Cache, source: SourceLimits
) -> AsyncGenerator[Store]:
    """Make the store of an agent; its tasks end with the block."""
    uploads = Uploads(cache=cache, limits=limits, archive_bytes=source.archive_bytes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(uploads.run, name="uploads")
        yield Store(fetcher=fetcher, cache=cache, uploads=uploads, nursery=nursery)
        nursery.cancel_scope.cancel(reason="the store is closed")


@attrs.define(eq=False, kw_only=True)
class Store:
    """Gets archives for processes.

    nursery: for shared downloads, which do not belong to any one process.
    """

    uploads: Uploads
    cache: ArchiveCache
    _fetcher: Fetcher
    _nursery: trio.Nursery
    _demands: dict[tuple[str, str | None], Demand] = attrs.field(factory=dict)

    def open_source(self, url: str, *, sha256: str | None = None, request_id: str = "") -> Source:
        """Announce that the archive at `url` is wanted, until `Source.aclose`.

        sha256: the digest that it must have, in lower case.
        request_id: sent along with a download.
        """
        demand = self._demands.setdefault((url, sha256), Demand(url=url, sha256=sha256))
        demand.sources += 1
        uploaded = _digest_of_upload(url)
        if uploaded is not None:
            self.uploads.use(uploaded)
        return Source(store=self, demand=demand, request_id=request_id, uploaded=uploaded)

    def join(self, demand: Demand, request_id: str) -> SharedDownload:
        """Join the shared download of an archive, or start one."""
        shared = demand.shared
        if shared is None:
            shared = demand.shared = SharedDownload(
                demand=demand, request_id=request_id, fetcher=self._fetcher, cache=self.cache
            )
            # In a context of its own: it outlives the request that starts it.
            start = partial(self._nursery.start_soon, shared.run, name=f"download {request_id}")
            contextvars.Context().run(start)
        shared.users += 1
        return shared

    def forget(self, demand: Demand) -> None:
        """Forget an archive that no source wants any more."""
        del self._demands[demand.url, demand.sha256]


@attrs.define(eq=False, kw_only=True)
class Source:
    """The archive of one process.

    sha256: its digest, once `get` has returned.
    """

    sha256: str | None = None
    _store: Store
    _demand: Demand
    _request_id: str
    _uploaded: str | None
    _shared: SharedDownload | None = None
    _closed: bool = False

    @property
    def download(self) -> Download | None:
        """The progress of the download, while there is one."""
        return None if self._shared is None else self._shared.download

    async def get(self) -> Path:
        """Wait for the archive and return its file, which stays until `aclose`.

        A second call returns the same file, unless somebody has removed it meanwhile.

        Raises `DownloadError` when a retry cannot help, else `TransientError`.

        If cancelled: stops waiting; `aclose` ends the download if no other source wants it.
        """
        shared = self._shared
        if shared is not None and shared.archive is not None and not shared.archive.exists:
            self._shared = None
            await shared.leave()
        shared = self._shared = self._shared or self._store.join(self._demand, self._request_id)
        await shared.ended.wait()
        if shared.error is not None:
            self._shared = None
            await shared.leave()
            raise copy_error(shared.error) from shared.error
        assert shared.archive is not None  # noqa: S101  # Only if nobody waits, it has neither.
        self.sha256 = shared.sha256
        return shared.archive.path

    async def reject(self, error: CutShortError) -> None:
        """Give back an archive that turned out to be cut short; the next `get` asks for it anew.

        Raises `TransientDownloadError`, or returns if its transfer cannot be the cause.

        If cancelled: gives it back first.
        """
        shared = self._shared
        if shared is None or not shared.may_be_cut_short:
            await trio.lowlevel.checkpoint()
            return
        self._shared = self.sha256 = None
        await shared.leave()
        raise TransientDownloadError(f"{public_url(self._demand.url)}: {error}") from error

    async def make_room_after(self, error: TransientError) -> None:
        """Make room in the cache for the next try; see `make_room_after` of the cache."""
        await make_room_after(error, self._store.cache)

    async def aclose(self) -> None:
        """Give the archive up; safe to call more than once.

        If cancelled: does that first.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        demand, shared = self._demand, self._shared
        demand.sources -= 1
        if not demand.sources:
            self._store.forget(demand)
        if self._uploaded is not None:
            self._store.uploads.leave(self._uploaded)
        if shared is not None:
            self._shared = None
            await shared.leave()
        if not demand.sources and demand.interrupted is not None:
            await demand.interrupted.part.remove()


def _digest_of_upload(url: str) -> str | None:
    """The digest in the URL of an upload; None also for a wrong one, which the download rejects."""
    try:
        return digest_of_upload(url)
    except ValueError:
        return None

"""The store: archives for processes, each of them downloaded once.

Who wants the same archive at the same time shares a flight: a task of the store that finds it
in the cache, or downloads it.  A flight ends when the last of them wants it no more.
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
from smartmob_agent.errors import TransientError
from smartmob_agent.source.cache.seam import ArchiveCache
from smartmob_agent.source.digests import digest_of_upload
from smartmob_agent.source.disk.full_disk import make_room_after
from smartmob_agent.source.download.http_fetcher import Fetcher
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
    """Where processes get their archives from.

    nursery: for flights, which do not belong to any one process.
    """

    uploads: Uploads
    cache: ArchiveCache
    _fetcher: Fetcher
    _nursery: trio.Nursery
    _demands: dict[tuple[str, str | None], Demand] = attrs.field(factory=dict)

    def open_source(self, url: str, *, sha256: str | None = None, request_id: str = "") -> Source:
        """Say that the archive at `url` is going to be wanted, until `Source.aclose`.

        sha256: what its digest must be, in lower case.
        request_id: sent along with a download.
        """
        demand = self._demands.setdefault((url, sha256), Demand(url=url, sha256=sha256))
        demand.sources += 1
        uploaded = _digest_of_upload(url)
        if uploaded is not None:
            self.uploads.use(uploaded)
        return Source(store=self, demand=demand, request_id=request_id, uploaded=uploaded)

    def join(self, demand: Demand, request_id: str) -> SharedDownload:
        """Share the flight that is under way, or begin one."""
        flight = demand.flight
        if flight is None:
            flight = demand.flight = SharedDownload(
                demand=demand, request_id=request_id, fetcher=self._fetcher, cache=self.cache
            )
            # In a context of its own: others share it than the process that it comes from.
            start = partial(self._nursery.start_soon, flight.run, name=f"flight {request_id}")
            contextvars.Context().run(start)
        flight.users += 1
        return flight

    def forget(self, demand: Demand) -> None:
        """Nobody wants it any more."""
        del self._demands[demand.url, demand.sha256]


@attrs.define(eq=False, kw_only=True)
class Source:
    """What one process wants of the store.

    sha256: the digest of the archive, once it is there.
    """

    sha256: str | None = None
    _store: Store
    _demand: Demand
    _request_id: str
    _uploaded: str | None
    _flight: SharedDownload | None = None
    _closed: bool = False

    @property
    def download(self) -> Download | None:
        """How far the download is, while there is one."""
        return None if self._flight is None else self._flight.download

    async def get(self) -> Path:
        """Return the archive as soon as it is there; it stays until `aclose`.

        Called again, it returns the same, unless a human has removed it.

        Raises `DownloadError` when trying again cannot mend it, else `TransientError`.

        If cancelled: stops waiting; `aclose` ends the download if no other source wants it.
        """
        flight = self._flight
        if flight is not None and flight.archive is not None and not flight.archive.exists:
            self._flight = None
            await flight.leave()
        flight = self._flight = self._flight or self._store.join(self._demand, self._request_id)
        await flight.ended.wait()
        if flight.error is not None:
            self._flight = None
            await flight.leave()
            raise _copy(flight.error) from flight.error
        assert flight.archive is not None  # noqa: S101  # It ends without only if nobody waits.
        self.sha256 = flight.sha256
        return flight.archive.path

    async def make_room_after(self, error: TransientError) -> None:
        """Have the cache make room for the next try, if `error` came of a full disk."""
        await make_room_after(error, self._store.cache)

    async def aclose(self) -> None:
        """Want the archive no more; safe to call again.

        If cancelled: does all of it first.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        demand, flight = self._demand, self._flight
        demand.sources -= 1
        if not demand.sources:
            self._store.forget(demand)
        if self._uploaded is not None:
            self._store.uploads.leave(self._uploaded)
        if flight is not None:
            self._flight = None
            await flight.leave()
        if not demand.sources and demand.part is not None:
            await demand.part.remove()


def _copy(error: Exception) -> Exception:
    """Copy an error that each waiting process raises: one exception has one traceback.

    Its class may be an embedder's, so nothing is known of its `__init__`, which is not called.
    """
    kind = type(error)
    copy = kind.__new__(kind, *error.args)
    vars(copy).update(vars(error))
    for base in kind.__mro__:
        for name in vars(base).get("__slots__", ()):
            with contextlib.suppress(AttributeError):
                object.__setattr__(copy, name, getattr(error, name))
    return copy


def _digest_of_upload(url: str) -> str | None:
    """The flight says what is wrong with a URL, to those who wait for it."""
    try:
        return digest_of_upload(url)
    except ValueError:
        return None

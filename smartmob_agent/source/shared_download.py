"""One flight: an archive on its way from the cache or the network, for all who wait for it."""

from __future__ import annotations

from contextlib import suppress

import attrs
import trio

from smartmob_agent.errors import DownloadError, TransientDownloadError, TransientError
from smartmob_agent.source.cache.seam import ArchiveCache, ArchivePart, HeldArchive, KnownETag
from smartmob_agent.source.digests import SCHEME, digest_of_upload
from smartmob_agent.source.disk.full_disk import TIMEOUT, make_room_after
from smartmob_agent.source.download.http_fetcher import Fetched, Fetcher
from smartmob_agent.source.download.urls import public_url

__all__ = ["Demand", "Download", "SharedDownload"]


@attrs.frozen
class Download:
    """How far a download is.

    received: bytes.
    total: bytes of the whole archive; None if the server does not say.
    """

    received: int
    total: int | None


@attrs.define(eq=False, kw_only=True)
class Demand:
    """What several sources want.

    sha256: what the digest must be, if that was said.
    sources: how many want it.
    flight: the one that newcomers share.
    part: what an interrupted download left, for the next one to go on with.
    """

    url: str
    sha256: str | None
    sources: int = 0
    flight: SharedDownload | None = None
    part: ArchivePart | None = None


@attrs.define(eq=False, kw_only=True)
class SharedDownload:
    """Finds an archive, or downloads it; `archive` or `error` is there when it has `ended`.

    users: sources that wait for the archive or hold it.
    download: how far it is, if there is one.
    """

    demand: Demand
    request_id: str
    users: int = 0
    download: Download | None = None
    archive: HeldArchive | None = None
    sha256: str | None = None
    error: Exception | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)
    _fetcher: Fetcher
    _cache: ArchiveCache
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self) -> None:
        """Get the archive, which is held then.  What goes wrong is kept for those who wait."""
        try:
            with self._scope:
                await self._get()
        except Exception as exc:  # noqa: BLE001  # Each source has a task in which it fails.
            self.error = exc
            if isinstance(exc, TransientError):
                await make_room_after(exc, self._cache)
        finally:
            self.download = None
            if self.error is not None or self.archive is None:
                self.close()
            self.ended.set()

    def close(self) -> None:
        """Let no newcomer share it."""
        if self.demand.flight is self:
            self.demand.flight = None

    async def leave(self) -> None:
        """One source wants it no more; the last one ends it, and leaves nothing of it.

        While the archive is on its way, newcomers still share it.  Once it is there, the first to
        leave closes it: the source may have changed meanwhile, so newcomers ask again.

        If cancelled: does all of this first.
        """
        self.users -= 1
        if self.ended.is_set() or not self.users:
            self.close()
        if self.users:
            await trio.lowlevel.checkpoint()
            return
        self._scope.cancel(reason="nobody wants the archive")
        # Bounded by the time that a fetcher takes to close its connection.
        with trio.CancelScope(shield=True):
            await self.ended.wait()
            if self.archive is not None:
                await self.archive.release()

    async def _get(self) -> None:
        expected = self.demand.sha256
        uploaded = _uploaded(self.demand.url)
        if uploaded is not None and expected not in {None, uploaded}:
            raise _other_digest(self.demand.url, expected, uploaded)
        self.sha256 = uploaded or expected
        if self.sha256 is not None:
            self.archive = await self._cache.find(self.sha256)
        if self.archive is None:
            if uploaded is not None:
                raise DownloadError(f"{self.demand.url}: there is no such upload; upload it again")
            await self._download()

    async def _download(self) -> None:
        etag = await self._recall() if self.sha256 is None else None
        part = self.demand.part or self._cache.make_part()
        self.demand.part, kept = None, False
        self._progress(0, None)
        try:
            fetched = await self._fetcher.fetch(
                self.demand.url,
                part.path,
                request_id=self.request_id,
                etag=etag,
                progress=self._progress,
            )
            if fetched is not None:
                await self._keep(part, fetched)
        except TransientDownloadError:
            self.demand.part, kept = part, True
            raise
        finally:
            if not kept:
                with trio.move_on_after(TIMEOUT, shield=True):
                    await part.remove()

    async def _recall(self) -> str | None:
        """Hold what was found at the URL before, and return its ETag."""
        note = await self._cache.recall(self.demand.url)
        if note is not None:
            self.archive = await self._cache.find(note.sha256)
        if note is None or self.archive is None:
            return None
        self.sha256 = note.sha256
        return note.etag

    async def _keep(self, part: ArchivePart, fetched: Fetched) -> None:
        expected = self.demand.sha256
        if expected not in {None, fetched.sha256}:
            raise _other_digest(self.demand.url, expected, fetched.sha256)
        old, self.archive = self.archive, await part.keep(fetched.sha256)
        self.sha256 = fetched.sha256
        if old is not None:
            await old.release()
        if fetched.etag is not None:
            with suppress(TransientError):  # It would save a download, but nobody needs it.
                note = KnownETag(sha256=fetched.sha256, etag=fetched.etag)
                await self._cache.remember(self.demand.url, note)

    def _progress(self, received: int, total: int | None) -> None:
        self.download = Download(received, total)


def _uploaded(url: str) -> str | None:
    try:
        return digest_of_upload(url)
    except ValueError as exc:
        raise DownloadError(f"source_url: {exc}") from exc


def _other_digest(url: str, expected: str | None, found: str) -> DownloadError:
    shown = url if url.startswith(SCHEME) else public_url(url)
    return DownloadError(f"{shown}: expected the SHA-256 digest {expected}, found {found}")

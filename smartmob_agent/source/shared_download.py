"""A download that all processes share which want the same archive at the same time."""

from __future__ import annotations

from contextlib import suppress

import attrs
import trio

from smartmob_agent.errors import DownloadError, TransientDownloadError, TransientError
from smartmob_agent.source.cache.seam import (
    ArchiveCache,
    ArchivePart,
    HeldArchive,
    KnownETag,
    make_room_after,
)
from smartmob_agent.source.digests import SCHEME, digest_of_upload
from smartmob_agent.source.disk.timeouts import REMOVE_FILE_TIMEOUT
from smartmob_agent.source.download.seam import Fetched, Fetcher, FetchRequest, PartialFile
from smartmob_agent.source.download.urls import public_url

__all__ = ["Demand", "Download", "SharedDownload"]


@attrs.frozen
class Download:
    """The progress of a download.

    received: bytes.
    total: bytes of the whole archive; None if the server does not say.
    """

    received: int
    total: int | None


@attrs.frozen(eq=False)
class Interrupted:
    """A download that was cut short: its file in the cache, and what is known of its bytes."""

    part: ArchivePart
    partial: PartialFile


@attrs.define(eq=False, kw_only=True)
class Demand:
    """An archive that one or more sources want.

    sha256: its digest, if the create request has one.
    sources: how many want it.
    shared: the download that the next source joins.
    interrupted: what the last download left, for the next one to resume.
    """

    url: str
    sha256: str | None
    sources: int = 0
    shared: SharedDownload | None = None
    interrupted: Interrupted | None = None


@attrs.define(eq=False, kw_only=True)
class SharedDownload:
    """Finds or downloads an archive; once it has `ended` there is an `archive` or an `error`.

    users: sources that wait for the archive or hold it.
    download: its progress, while there is one.
    may_be_cut_short: whether nothing but the archive itself can show that all of it came.
    """

    demand: Demand
    request_id: str
    users: int = 0
    download: Download | None = None
    archive: HeldArchive | None = None
    may_be_cut_short: bool = False
    sha256: str | None = None
    error: Exception | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)
    _fetcher: Fetcher
    _cache: ArchiveCache
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self) -> None:
        """Get the archive and hold it.  An error is kept for the sources that wait."""
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
        """Let no further source join."""
        if self.demand.shared is self:
            self.demand.shared = None

    async def leave(self) -> None:
        """Leave, as one source; after the last one the download ends and nothing of it is left.

        While the archive is being downloaded, others may still join.  Once it is there, the first
        to leave closes it: the server may have another one by then, so the next source asks.

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
            raise _wrong_digest(self.demand.url, expected, uploaded)
        self.sha256 = uploaded or expected
        if self.sha256 is not None:
            self.archive = await self._cache.find(self.sha256)
        if self.archive is None:
            if uploaded is not None:
                raise DownloadError(f"{self.demand.url}: there is no such upload; upload it again")
            await self._download()

    async def _download(self) -> None:
        etag = await self._recall() if self.sha256 is None else None
        file, resumable = self._take_file(), False
        self._set_progress(0, None)
        try:
            request = FetchRequest(
                url=self.demand.url,
                partial=file.partial,
                request_id=self.request_id,
                etag=etag,
                progress=self._set_progress,
            )
            fetched = await self._fetcher.fetch(request)
            if fetched is not None:
                await self._keep(file.part, fetched)
        except TransientDownloadError:
            self.demand.interrupted, resumable = file, True
            raise
        finally:
            if not resumable:
                with trio.move_on_after(REMOVE_FILE_TIMEOUT, shield=True):
                    await file.part.remove()

    def _take_file(self) -> Interrupted:
        """Take over what the last download left, or make a new file."""
        interrupted, self.demand.interrupted = self.demand.interrupted, None
        if interrupted is None:
            part = self._cache.make_part()
            interrupted = Interrupted(part, PartialFile(path=part.path))
        return interrupted

    async def _recall(self) -> str | None:
        """Hold the archive that the URL had before, and return its ETag."""
        known = await self._cache.recall(self.demand.url)
        if known is not None:
            self.archive = await self._cache.find(known.sha256)
        if known is None or self.archive is None:
            return None
        self.sha256 = known.sha256
        return known.etag

    async def _keep(self, part: ArchivePart, fetched: Fetched) -> None:
        expected = self.demand.sha256
        if expected not in {None, fetched.sha256}:
            error = _wrong_digest(self.demand.url, expected, fetched.sha256)
            if fetched.ends_by_close:
                found = f"perhaps cut short after {fetched.size_bytes} bytes"
                raise TransientDownloadError(f"{error}, {found}") from error
            raise error
        self.may_be_cut_short = expected is None and fetched.ends_by_close
        old, self.archive = self.archive, await part.keep(fetched.sha256)
        self.sha256 = fetched.sha256
        if old is not None:
            await old.release()
        # With what is cut short an ETag would bring the same bytes back.
        if fetched.etag is not None and not self.may_be_cut_short:
            with suppress(TransientError):  # An ETag saves a download, but nobody needs one.
                known = KnownETag(sha256=fetched.sha256, etag=fetched.etag)
                await self._cache.remember(self.demand.url, known)

    def _set_progress(self, received: int, total: int | None) -> None:
        self.download = Download(received, total)


def _uploaded(url: str) -> str | None:
    try:
        return digest_of_upload(url)
    except ValueError as exc:
        raise DownloadError(f"source_url: {exc}") from exc


def _wrong_digest(url: str, expected: str | None, found: str) -> DownloadError:
    shown = url if url.startswith(SCHEME) else public_url(url)
    return DownloadError(f"{shown}: expected the SHA-256 digest {expected}, found {found}")

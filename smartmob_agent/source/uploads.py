"""Uploads: archives that clients send, removed when they have not been used for a while."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable

import attrs
import trio

from smartmob_agent.config.settings import Cache
from smartmob_agent.errors import BodyTooLargeError, StoppingError, TransientError
from smartmob_agent.source.cache.seam import ArchiveCache, ArchivePart, make_room_after
from smartmob_agent.source.digests import upload_url
from smartmob_agent.source.disk.timeouts import MAKE_ROOM_TIMEOUT, REMOVE_FILE_TIMEOUT

__all__ = ["Upload", "Uploads"]

logger = logging.getLogger(__name__)

BATCH_BYTES = 1024 * 1024
"""A switch to a thread costs about as much as writing 100 KiB."""


@attrs.frozen(kw_only=True)
class Upload:
    """An archive that was uploaded.

    sha256: 64 hexadecimal digits.
    """

    sha256: str
    size_bytes: int

    @property
    def url(self) -> str:
        """The `source_url` of a create request that uses this upload."""
        return upload_url(self.sha256)


@attrs.define(eq=False, kw_only=True)
class Uploads:
    """Receives uploads, and removes those that are not used.

    archive_bytes: limit for each of them.
    """

    cache: ArchiveCache
    limits: Cache
    archive_bytes: int
    _stopping: bool = False
    _receiving: set[trio.CancelScope] = attrs.field(factory=set)
    _users: Counter[str] = attrs.field(factory=Counter)
    _deadlines: dict[str, float] = attrs.field(factory=dict)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def receive(self, read: Callable[[], Awaitable[bytes]]) -> Upload:
        """Receive an archive, which is removed after `upload_timeout` unless somebody uses it.

        read: returns the next bytes, and none at the end of the archive.

        Raises `StoppingError` after `close`, `BodyTooLargeError`, `SourceError` when the bytes
        are no archive, `TransientError` when the disk rejects them.  Nothing is left then.

        If cancelled: nothing is left, or the archive was complete and is as one nobody uses.
        """
        with trio.CancelScope() as scope:
            if self._stopping:
                raise StoppingError
            self._receiving.add(scope)
            try:
                return await self._receive(read)
            finally:
                self._receiving.discard(scope)
        raise StoppingError

    def close(self) -> None:
        """Reject further uploads, and cancel those that are being received."""
        self._stopping = True
        for scope in self._receiving:
            scope.cancel(reason="the agent is to stop")

    def use(self, sha256: str) -> None:
        """Keep an upload, if there is one, until `leave` has been called as often."""
        self._users[sha256] += 1
        self._deadlines.pop(sha256, None)

    def leave(self, sha256: str) -> None:
        """Undo one `use`; after the last, `upload_timeout` passes before the upload is removed."""
        self._users[sha256] -= 1
        if not self._users[sha256]:
            del self._users[sha256]
            self._expire_after(sha256, self.limits.upload_timeout)

    async def run(self) -> None:
        """Remove uploads that are not used, until cancelled."""
        for sha256, unused in await self.cache.uploads():
            self._expire_after(sha256, self.limits.upload_timeout - unused)
        while True:
            if self._deadlines:
                sha256, deadline = min(self._deadlines.items(), key=lambda item: item[1])
                await trio.sleep_until(deadline)
                if self._deadlines.get(sha256) == deadline:
                    await self._expire(sha256)
            else:
                self._changed = trio.Event()
                await self._changed.wait()

    async def _expire(self, sha256: str) -> None:
        del self._deadlines[sha256]
        timeout = self.limits.upload_timeout
        try:
            left = await self.cache.expire(sha256, timeout)
        except TransientError as exc:
            logger.warning("cannot remove", extra={"sha256": sha256, "error": str(exc)})
            left = timeout
        if left and not self._users[sha256]:
            self._expire_after(sha256, left)

    def _expire_after(self, sha256: str, delay: float) -> None:
        self._deadlines[sha256] = trio.current_time() + delay
        self._changed.set()

    async def _receive(self, read: Callable[[], Awaitable[bytes]]) -> Upload:
        part = self.cache.make_part()
        try:
            size = await self._write(part, read)
            await part.check()
            archive = await part.keep(part.sha256, uploaded=True)
            # From here on there is an upload, even if the client never gets the answer.
            self._expire_after(part.sha256, self.limits.upload_timeout)
            await archive.release()
        except TransientError as exc:
            with trio.move_on_after(MAKE_ROOM_TIMEOUT, shield=True):
                await make_room_after(exc, self.cache)
            raise
        finally:
            with trio.move_on_after(REMOVE_FILE_TIMEOUT, shield=True):
                await part.remove()
        return Upload(sha256=part.sha256, size_bytes=size)

    async def _write(self, part: ArchivePart, read: Callable[[], Awaitable[bytes]]) -> int:
        size, batch = 0, bytearray()
        while data := await read():
            size += len(data)
            if size > self.limit_bytes:
                raise BodyTooLargeError(self.limit_bytes)
            batch += data
            if len(batch) >= BATCH_BYTES:
                await part.write(batch)
                batch = bytearray()
        await part.write(batch)
        return size

    @property
    def limit_bytes(self) -> int:
        """The largest upload, in bytes; the cache must have space for it."""
        return min(self.archive_bytes, self.limits.cache_bytes)

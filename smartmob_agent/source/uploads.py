"""Uploads: archives that come by themselves, and go when nobody has used them for a while."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable

import attrs
import trio

from smartmob_agent.config.settings import Cache
from smartmob_agent.errors import BodyTooLargeError, StoppingError, TransientError
from smartmob_agent.source.cache.seam import ArchiveCache, ArchivePart
from smartmob_agent.source.digests import upload_url
from smartmob_agent.source.disk.full_disk import TIMEOUT, make_room_after

__all__ = ["Upload", "Uploads"]

logger = logging.getLogger(__name__)

BATCH_BYTES = 1024 * 1024
"""A step to a thread costs about as much as writing 100 KiB."""


@attrs.frozen(kw_only=True)
class Upload:
    """An archive that was uploaded.

    sha256: 64 hexadecimal digits.
    """

    sha256: str
    size_bytes: int

    @property
    def url(self) -> str:
        """What a create request may name as its `source_url`."""
        return upload_url(self.sha256)


@attrs.define(eq=False, kw_only=True)
class Uploads:
    """Takes uploads, and removes them in time.

    archive_bytes: for each of them.
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
        """Take an archive; who is to use it has `upload_timeout` seconds to say so.

        read: returns its next bytes, and none at its end.

        Raises `StoppingError` after `close`, `BodyTooLargeError`, `SourceError` when it is no
        archive, `TransientError` when the disk says no.  Nothing of it is left then.

        If cancelled: nothing of it is left, or it was complete and goes as if nobody used it.
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
        """Take no more uploads, and cut those that are under way."""
        self._stopping = True
        for scope in self._receiving:
            scope.cancel(reason="the agent is to stop")

    def use(self, sha256: str) -> None:
        """Keep an upload, if there is such a one, until `leave` was called as often."""
        self._users[sha256] += 1
        self._deadlines.pop(sha256, None)

    def leave(self, sha256: str) -> None:
        """It is used no more; it goes in `upload_timeout` seconds, unless it is used again."""
        self._users[sha256] -= 1
        if not self._users[sha256]:
            del self._users[sha256]
            self._expire_after(sha256, self.limits.upload_timeout)

    async def run(self) -> None:
        """Remove what is not used, until cancelled."""
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
            # From here on it is there, whether its client hears of it or not.
            self._expire_after(part.sha256, self.limits.upload_timeout)
            await archive.release()
        except TransientError as exc:
            with trio.move_on_after(TIMEOUT, shield=True):
                await make_room_after(exc, self.cache)
            raise
        finally:
            with trio.move_on_after(TIMEOUT, shield=True):
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
        """Bytes of an upload: what is larger than the whole cache has no place in it."""
        return min(self.archive_bytes, self.limits.cache_bytes)

"""A cache of archives without a disk."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

import trio

from smartmob_agent.source.cache.etags import KnownETag
from smartmob_agent.testing.builds import FakeTrees
from smartmob_agent.testing.nowhere import NOWHERE

__all__ = ["FakeArchive", "FakeCache", "FakePart"]


class FakeArchive:
    """An archive in a `FakeCache`.

    held: how many users hold it.
    """

    def __init__(self, sha256: str, *, uploaded: bool) -> None:
        self.path = NOWHERE / "cache" / sha256
        self.uploaded = uploaded
        self.exists = True
        self.held = 0
        self.used = trio.current_time()

    async def release(self) -> None:
        self.held -= 1
        await trio.lowlevel.checkpoint()


class FakePart:
    """An unfinished archive.

    removed: whether `remove` was called.
    """

    def __init__(self, cache: FakeCache, number: int) -> None:
        self._cache = cache
        self.path = NOWHERE / "parts" / str(number)
        self.content = b""
        self.removed = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    async def write(self, data: bytes | bytearray) -> None:
        await trio.lowlevel.checkpoint()
        self.content += data

    async def check(self) -> None:
        await trio.lowlevel.checkpoint()

    async def keep(self, sha256: str, *, uploaded: bool = False) -> FakeArchive:
        await trio.lowlevel.checkpoint()
        if self._cache.errors:
            raise self._cache.errors.pop(0)
        archive = self._cache.archives.get(sha256) or FakeArchive(sha256, uploaded=uploaded)
        self._cache.archives[sha256] = archive
        archive.held += 1
        return archive

    async def remove(self) -> None:
        self.removed = True
        await trio.lowlevel.checkpoint()


class FakeCache:
    """Keeps no bytes, only which archives there are.

    archives: by digest.
    etags: by URL, with the digest of the archive.
    parts: all unfinished archives that were made, in order.
    errors: raised by the next calls of `FakePart.keep`, one each.
    etag_errors: raised by the next calls of `remember`, one each.
    trees: what builds have made.
    """

    def __init__(self) -> None:
        self.archives: dict[str, FakeArchive] = {}
        self.etags: dict[str, KnownETag] = {}
        self.parts: list[FakePart] = []
        self.errors: list[Exception] = []
        self.etag_errors: list[Exception] = []
        self.trees = FakeTrees()
        self._numbers = itertools.count()

    def remove(self, sha256: str) -> None:
        """Remove an archive, even one that is held."""
        self.archives.pop(sha256).exists = False

    async def find(self, sha256: str) -> FakeArchive | None:
        await trio.lowlevel.checkpoint()
        archive = self.archives.get(sha256)
        if archive is not None:
            archive.held += 1
            archive.used = trio.current_time()
        return archive

    def make_part(self) -> FakePart:
        part = FakePart(self, next(self._numbers))
        self.parts.append(part)
        return part

    async def make_room(self) -> None:
        await trio.lowlevel.checkpoint()
        for sha256, archive in list(self.archives.items()):
            if not archive.held and not archive.uploaded:
                self.remove(sha256)
        for key, tree in list(self.trees.trees.items()):
            if not tree.held:
                del self.trees.trees[key]

    async def recall(self, url: str) -> KnownETag | None:
        await trio.lowlevel.checkpoint()
        return self.etags.get(url)

    async def remember(self, url: str, known: KnownETag) -> None:
        await trio.lowlevel.checkpoint()
        if self.etag_errors:
            raise self.etag_errors.pop(0)
        self.etags[url] = known

    async def uploads(self) -> Sequence[tuple[str, float]]:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        return [(key, now - one.used) for key, one in self.archives.items() if one.uploaded]

    async def expire(self, sha256: str, age: float) -> float:
        await trio.lowlevel.checkpoint()
        archive = self.archives.get(sha256)
        if archive is None or not archive.uploaded:
            return 0.0
        if archive.held:
            return age
        left = archive.used + age - trio.current_time()
        if left <= 0:
            self.remove(sha256)
        return max(left, 0.0)

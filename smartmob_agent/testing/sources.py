"""Sources that come from nowhere: no network, no disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import trio

from smartmob_agent.source.app.workspace import Unpacked
from smartmob_agent.source.download.seam import Fetched, Progress, ignore_progress
from smartmob_agent.testing.cache import NOWHERE, FakeCache

__all__ = ["FakeFetcher", "FakeWorkspace", "FakeWorkspaces"]


class FakeFetcher:
    """Downloads from nowhere.

    content: of every archive; None writes no file, as for an empty archive.
    etag: of every archive.
    errors: raised by the next downloads, one each.
    delay: seconds that a download takes, also one that fails.
    requests: (URL, request id) of each download that was begun.
    """

    def __init__(
        self,
        *,
        content: bytes | None = None,
        etag: str | None = None,
        errors: Iterable[Exception] = (),
        delay: float = 0.0,
    ) -> None:
        self.content = content
        self.etag = etag
        self.errors = list(errors)
        self.delay = delay
        self.requests: list[tuple[str, str]] = []

    async def fetch(
        self,
        url: str,
        destination: Path,
        *,
        request_id: str,
        etag: str | None = None,
        progress: Progress = ignore_progress,
    ) -> Fetched | None:
        self.requests.append((url, request_id))
        size = len(self.content or b"")
        progress(0, size)
        await trio.sleep(self.delay)
        if self.errors:
            raise self.errors.pop(0)
        if etag is not None and etag == self.etag:
            return None
        if self.content is not None:
            destination.write_bytes(self.content)  # noqa: ASYNC240  # a few bytes of a test
        progress(size, size)
        digest = hashlib.sha256(self.content or b"").hexdigest()
        return Fetched(sha256=digest, size_bytes=size, etag=self.etag)


class FakeWorkspace:
    """The files of one process, which are none.

    directory: where they would be.
    removed: set when they were removed.
    """

    def __init__(self, factory: FakeWorkspaces, slug: str) -> None:
        self._factory = factory
        self.directory = NOWHERE / slug
        self.removed = trio.Event()

    async def unpack(self, archive: Path) -> Unpacked:  # noqa: ARG002  # nothing to read
        await trio.sleep(self._factory.delay)
        if self._factory.errors:
            raise self._factory.errors.pop(0)
        return Unpacked(root=self.directory / "app", procfile=self._factory.procfile)

    async def remove(self) -> None:
        await trio.sleep(self._factory.remove_delay)
        self.removed.set()


class FakeWorkspaces:
    """Makes workspaces in which every archive unpacks to an app with the same Procfile.

    procfile: its bytes; None for an app without one.
    errors: raised by the next unpackings, one each.
    delay, remove_delay: seconds that unpacking and removing take.
    opened: all workspaces, in order.
    cache: of archives.
    """

    def __init__(
        self,
        *,
        procfile: bytes | None = b"web: serve\n",
        errors: Iterable[Exception] = (),
        delay: float = 0.0,
        remove_delay: float = 0.0,
    ) -> None:
        self.procfile = procfile
        self.errors = list(errors)
        self.delay = delay
        self.remove_delay = remove_delay
        self.opened: list[FakeWorkspace] = []
        self.cache = FakeCache()

    def open(self, slug: str) -> FakeWorkspace:
        workspace = FakeWorkspace(self, slug)
        self.opened.append(workspace)
        return workspace

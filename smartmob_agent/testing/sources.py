"""A fetcher without a network, and workspaces without a disk."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

import trio

from smartmob_agent.errors import TransientError
from smartmob_agent.source.app.workspace import Unpacked
from smartmob_agent.source.download.seam import Fetched, FetchRequest
from smartmob_agent.source.trees.seam import HeldTree
from smartmob_agent.testing.builds import FakeTree
from smartmob_agent.testing.cache import FakeCache
from smartmob_agent.testing.nowhere import NOWHERE

__all__ = ["FakeFetcher", "FakeWorkspace", "FakeWorkspaces"]


class FakeFetcher:
    """Downloads without a network.

    content: of every archive; None writes no file, as for an empty archive.
    etag: of every archive.
    ends_by_close: see `Fetched`.
    errors: raised by the next downloads, one each.
    delay: seconds that a download takes, also one that fails.
    requests: (URL, request id) of each download that was started, in order.
    """

    def __init__(
        self,
        *,
        content: bytes | None = None,
        etag: str | None = None,
        ends_by_close: bool = False,
        errors: Iterable[Exception] = (),
        delay: float = 0.0,
    ) -> None:
        self.content = content
        self.etag = etag
        self.ends_by_close = ends_by_close
        self.errors = list(errors)
        self.delay = delay
        self.requests: list[tuple[str, str]] = []

    async def fetch(self, request: FetchRequest) -> Fetched | None:
        self.requests.append((request.url, request.request_id))
        size = len(self.content or b"")
        request.progress(0, size)
        await trio.sleep(self.delay)
        if self.errors:
            raise self.errors.pop(0)
        if request.etag is not None and request.etag == self.etag:
            return None
        if self.content is not None:
            request.partial.path.write_bytes(self.content)
        request.progress(size, size)
        digest = hashlib.sha256(self.content or b"").hexdigest()
        return Fetched(
            sha256=digest, size_bytes=size, etag=self.etag, ends_by_close=self.ends_by_close
        )


class FakeWorkspace:
    """The workspace of one process, which has no files.

    directory: its path, where nothing is.
    removed: set when it was removed.
    is_gone: whether the app has removed its own files, which the next start finds out.
    """

    def __init__(self, factory: FakeWorkspaces, slug: str) -> None:
        self._factory = factory
        self.directory = NOWHERE / slug
        self.removed = trio.Event()
        self.is_gone = False

    async def unpack(
        self,
        archive: Path,  # noqa: ARG002  # nothing to read
        root: str | None = None,
    ) -> Unpacked:
        await trio.sleep(self._factory.delay)
        if self._factory.errors:
            raise self._factory.errors.pop(0)
        return Unpacked(
            root=self.directory / "app" / (root or ""),
            procfile=self._factory.procfile,
            app_json=self._factory.app_json,
            files=self._factory.files,
            found="nothing" if self._factory.procfile is None else "",
        )

    async def renew(self, root: Path) -> Path | None:  # noqa: ARG002  # a path that never is
        await trio.lowlevel.checkpoint()
        if self.is_gone:
            self.is_gone = False
            return None
        return self.directory / "tmp"

    async def hand_over(self, target: Path) -> None:  # noqa: ARG002  # nothing to move
        await trio.sleep(self._factory.copy_delay)

    async def copy(self, tree: HeldTree) -> Path:
        await trio.sleep(self._factory.copy_delay)
        if isinstance(tree, FakeTree) and tree.damaged:
            await tree.discard()
            raise TransientError("the build in the cache is damaged, and is made again")
        return self.directory / "app"

    async def remove(self) -> None:
        await trio.sleep(self._factory.remove_delay)
        self.removed.set()


class FakeWorkspaces:
    """Makes workspaces in which every archive unpacks to an app with the same Procfile.

    procfile: bytes of the Procfile; None for an app without one.
    errors: raised by the next calls of `unpack`, one each.
    delay, copy_delay, remove_delay: seconds that `unpack`, `copy` and `remove` take.
    app_json: bytes of the app.json; None for an app without one.
    files: names of what lies beside the Procfile.
    opened: all workspaces, in order.
    cache: the archives.
    """

    def __init__(
        self,
        *,
        procfile: bytes | None = b"web: serve\n",
        errors: Iterable[Exception] = (),
        delay: float = 0.0,
        copy_delay: float = 0.0,
        remove_delay: float = 0.0,
        app_json: bytes | None = None,
        files: Collection[str] = (),
    ) -> None:
        self.procfile = procfile
        self.errors = list(errors)
        self.delay = delay
        self.copy_delay = copy_delay
        self.remove_delay = remove_delay
        self.app_json = app_json
        self.files = files
        self.opened: list[FakeWorkspace] = []
        self.cache = FakeCache()

    def open(self, slug: str) -> FakeWorkspace:
        workspace = FakeWorkspace(self, slug)
        self.opened.append(workspace)
        return workspace

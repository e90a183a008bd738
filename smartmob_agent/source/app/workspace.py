"""The files of an agent: the app of each process, and the cache of archives."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import tempfile
from collections.abc import AsyncGenerator, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import trio

from smartmob_agent.config.settings import Cache, SourceLimits
from smartmob_agent.errors import SourceError, StartError, TransientError
from smartmob_agent.source.app.app_json import MAX_BYTES
from smartmob_agent.source.app.root import describe, locate, read_within
from smartmob_agent.source.archive.decompress import MAGIC_BYTES, codec_of
from smartmob_agent.source.archive.unpack import check_archive, unpack
from smartmob_agent.source.cache.disk import open_cache
from smartmob_agent.source.cache.seam import ArchiveCache
from smartmob_agent.source.disk.free_space import FreeSpace
from smartmob_agent.source.disk.owned_dir import open_owned_dir, remove_dead
from smartmob_agent.source.disk.rmtree import remove_tree
from smartmob_agent.source.disk.timeouts import REMOVE_OWN_TIMEOUT
from smartmob_agent.source.trees.copy import Tally, copy_tree, open_directory
from smartmob_agent.source.trees.seam import HeldTree
from smartmob_agent.source.trees.settle import move_texts

__all__ = ["UnpackLimiter", "Unpacked", "Workspace", "Workspaces", "open_workspaces"]

logger = logging.getLogger(__name__)

APP_JSON = "app.json"

APP_JSON_BYTES = MAX_BYTES + 1
"""One that is too long shows it by its last byte."""

UNPACKERS = 2
"""Unpacking keeps a processor busy; with more at once the event loop waits longer for its turn."""

COPIERS = 2
"""Of trees: each keeps a processor busy, too."""

REMOVERS = 2
"""Removals wait for the disk; more at once would not make it faster."""

check_cancelled = trio.from_thread.check_cancelled


@attrs.frozen(kw_only=True)
class Unpacked:
    """An app as files.

    root: the directory with the Procfile: the archive's top or its only directory.
    procfile: the bytes of the Procfile, None where there is none.
    app_json: the same of `app.json`; one that is too long is cut behind the limit.
    files: names of what lies beside the Procfile.
    directory: in which the whole archive lies.
    found: what there is instead of a Procfile.
    """

    root: Path
    procfile: bytes | None
    app_json: bytes | None = None
    files: Collection[str] = ()
    directory: Path | None = None
    found: str = ""


class Workspace(Protocol):
    """The directory of one process, which is made at its first use."""

    async def unpack(self, archive: Path, root: str | None = None) -> Unpacked:
        """Unpack an archive, which stays unchanged; files of an earlier try are removed first.

        root: the directory of the app in the archive; None if it is to be found.

        Raises `DownloadError` when the file is no archive or over a limit, `UnpackError` when the
        archive is damaged or must not be unpacked, `TransientError` when the disk is full or
        cannot be written, `NoProcfileError` for a `root` that is not there.  No unpacked file is
        left then.

        If cancelled: stops soon; the files unpacked so far stay until `remove`.
        """
        ...

    async def hand_over(self, target: Path) -> None:
        """Move what was unpacked to `target`, which is made; the workspace is empty then.

        Raises `TransientError`.

        If cancelled: stops soon; what is in either place stays.
        """
        ...

    async def renew(self, root: Path) -> Path | None:
        """Return the directory for temporary files, made if it is missing; None if `root` is gone.

        Raises `TransientError` when it cannot be made.

        If cancelled: does that first.
        """
        ...

    async def copy(self, tree: HeldTree) -> Path:
        """Fill the workspace with a copy of a tree, and return its directory.

        Scripts and other texts name the new place instead of the one at which the tree was made.

        Raises `TransientError`, also when the tree is damaged.

        If cancelled: stops soon; the files copied so far stay until `remove`.
        """
        ...

    async def remove(self) -> None:
        """Remove the directory with all that is in it, whatever the app has done to it.

        Safe to call more than once.  Raises no error for files that cannot be removed: logs it.

        If cancelled: stops soon, and the rest stays.
        """
        ...


class Workspaces(Protocol):
    """All files of an agent."""

    @property
    def cache(self) -> ArchiveCache:
        """The archives that were downloaded or uploaded."""
        ...

    def open(self, slug: str) -> Workspace:
        """Make the workspace of a process; quick, nothing is written before the first use."""
        ...


@contextlib.asynccontextmanager
async def open_workspaces(
    parent: Path | None, limits: SourceLimits, cache: Cache | None = None
) -> AsyncGenerator[Workspaces]:
    """Make the agent's own directory below `parent`, and remove it at the end.

    Directories of agents that were killed are removed first.

    parent: made if it is missing; None is the system's directory for temporary files.
    cache: if it names no directory, the archives are in the agent's own.

    Raises `StartError` when there can be no such directory.
    """
    cache = cache or Cache()
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    with contextlib.ExitStack() as stack:
        try:
            own = await trio.to_thread.run_sync(_make_own, stack, parent)
        except OSError as exc:
            raise StartError(f"cannot keep sources in {parent}: {exc.strerror}") from exc
        try:
            await trio.to_thread.run_sync(remove_dead, parent, check_cancelled)
            opening = open_cache(
                cache.cache_dir or own / "cache",
                cache,
                min_free_bytes=limits.min_free_bytes,
                check_archive=partial(check_archive, limits=limits, check=check_cancelled),
            )
            async with opening as archives:
                yield _Workspaces(own=own, limits=limits, cache=archives)
        finally:
            with trio.move_on_after(REMOVE_OWN_TIMEOUT, shield=True):
                await trio.to_thread.run_sync(_remove, own)


def _make_own(stack: contextlib.ExitStack, parent: Path) -> Path:
    """Make the agent's own directory, which `stack` holds; in a thread."""
    parent.mkdir(parents=True, exist_ok=True)
    return stack.enter_context(open_owned_dir(parent))


@attrs.frozen
class UnpackLimiter:
    """Limits how many archives are unpacked at once, and to one those that need much memory."""

    _all: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(UNPACKERS))
    _large: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    @property
    def waiting(self) -> int:
        """How many wait for the memory that one of them has."""
        return self._large.statistics().tasks_waiting

    @contextlib.asynccontextmanager
    async def hold(self, archive: Path) -> AsyncGenerator[trio.CapacityLimiter]:
        """Wait until an archive may be unpacked, in a thread with the limiter that this yields.

        Raises `OSError` when the archive cannot be read.
        """
        async with contextlib.AsyncExitStack() as stack:
            if await trio.to_thread.run_sync(_needs_memory, archive, limiter=self._all):
                await stack.enter_async_context(self._large)
            yield self._all


def _needs_memory(archive: Path) -> bool:
    # Mostly of a file that was just written or checked; but it may be on a share that hangs.
    with archive.open("rb") as file:
        codec = codec_of(file.read(MAGIC_BYTES))
    return codec is not None and codec.needs_memory


@attrs.frozen(kw_only=True)
class _Workspaces:
    """own: the agent's own directory."""

    own: Path
    limits: SourceLimits
    cache: ArchiveCache
    unpackers: UnpackLimiter = attrs.field(factory=UnpackLimiter)
    copiers: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(COPIERS))
    removers: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(REMOVERS))

    def open(self, slug: str) -> Workspace:
        return _Workspace(slug=slug, parent=self)


@attrs.define(eq=False, kw_only=True)
class _Workspace:
    slug: str
    parent: _Workspaces
    _directory: Path | None = None

    async def unpack(self, archive: Path, root: str | None = None) -> Unpacked:
        with _disk_errors():
            async with self.parent.unpackers.hold(archive) as limiter:
                return await trio.to_thread.run_sync(self._unpack, archive, root, limiter=limiter)

    async def hand_over(self, target: Path) -> None:
        with _disk_errors():
            await trio.to_thread.run_sync(self._hand_over, target, limiter=self.parent.copiers)

    async def renew(self, root: Path) -> Path | None:
        with _disk_errors():
            return await trio.to_thread.run_sync(self._renew, root, limiter=self.parent.copiers)

    async def copy(self, tree: HeldTree) -> Path:
        with _disk_errors():
            copied = await trio.to_thread.run_sync(self._copy, tree, limiter=self.parent.copiers)
        if copied is None:
            await tree.discard()
            raise TransientError("the build in the cache is damaged, and is made again")
        return copied

    async def remove(self) -> None:
        if self._directory is None:
            await trio.lowlevel.checkpoint()
            return
        await trio.to_thread.run_sync(_remove, self._directory, limiter=self.parent.removers)
        self._directory = None

    def _unpack(self, archive: Path, wanted: str | None) -> Unpacked:
        """Unpack; in a thread that trio started."""
        limits, app = self.parent.limits, self._make_directory() / "app"
        remove_tree(app, check_cancelled)
        app.mkdir(mode=0o700)
        try:
            unpack(archive, app, limits, check_cancelled)
            root, procfile = locate(app, limits.procfile_bytes, wanted)
            found = describe(app) if procfile is None else ""
        except (SourceError, OSError):
            remove_tree(app, check_cancelled)
            raise
        return Unpacked(
            root=root,
            procfile=procfile,
            app_json=read_within(app, root / APP_JSON, APP_JSON_BYTES),
            files=frozenset(os.listdir(root)),  # noqa: PTH208  # only names
            directory=app,
            found=found,
        )

    def _renew(self, root: Path) -> Path | None:
        """See `renew`; in a thread that trio started."""
        if not root.is_dir():
            return None
        temporary = self._make_directory() / "tmp"
        with contextlib.suppress(FileExistsError):
            temporary.mkdir(mode=0o700)
        return temporary

    def _hand_over(self, target: Path) -> None:
        """Move, or copy where the target is on another disk; in a thread that trio started."""
        app = self._make_directory() / "app"
        try:
            app.rename(target)
        except OSError as exc:
            if exc.errno != errno.EXDEV:
                raise
            self._copy_tree(app, target)
            remove_tree(app, check_cancelled)

    def _copy(self, tree: HeldTree) -> Path | None:
        """Copy; None if the tree is damaged; in a thread that trio started."""
        app, record = self._make_directory() / "app", tree.record
        remove_tree(app, check_cancelled)
        if attrs.asdict(self._copy_tree(tree.path, app)) != record["tally"]:
            return None
        move_texts(record["texts"], app, record["made_at"])
        return app

    def _copy_tree(self, source: Path, target: Path) -> Tally:
        with open_directory(target.parent) as fd:
            space = FreeSpace(fd=fd, min_free_bytes=self.parent.limits.min_free_bytes)
            return copy_tree(source, target, check=check_cancelled, take=space.take)

    def _make_directory(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix=f"{self.slug}-", dir=self.parent.own))
        return self._directory


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise TransientError(f"cannot keep the source: {exc.strerror or exc}") from exc


def _remove(directory: Path) -> None:
    """Remove a directory; in a thread that trio started."""
    try:
        remove_tree(directory, check_cancelled)
    except OSError as exc:
        extra = {"path": str(directory), "error": str(exc)}
        logger.warning("cannot remove", extra=extra)

"""The files of an agent: for each process the app from its archive, and the cache of archives."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Protocol

import attrs
import trio

from smartmob_agent.config.settings import Cache, SourceLimits
from smartmob_agent.errors import SourceError, StartError, TransientError
from smartmob_agent.source.app.root import locate
from smartmob_agent.source.app.unpackers import Unpackers
from smartmob_agent.source.archive.unpack import unpack
from smartmob_agent.source.cache.disk import open_cache
from smartmob_agent.source.cache.seam import ArchiveCache
from smartmob_agent.source.disk.owned_dir import open_owned_dir, remove_dead
from smartmob_agent.source.disk.rmtree import remove_tree

__all__ = ["Unpacked", "Workspace", "Workspaces", "open_workspaces"]

logger = logging.getLogger(__name__)

REMOVERS = 2

REMOVE_TIMEOUT = 10.0
"""Seconds to remove the agent's directory when it stops; the next start removes the rest."""


@attrs.frozen(kw_only=True)
class Unpacked:
    """An app as files.

    root: the directory that holds the Procfile: the archive's top or its only directory.
    procfile: the bytes of the Procfile, None where there is none.
    """

    root: Path
    procfile: bytes | None


class Workspace(Protocol):
    """The directory of one process, which is made at its first use."""

    async def unpack(self, archive: Path) -> Unpacked:
        """Unpack an archive, which stays as it is; what an earlier try left is removed first.

        Raises `DownloadError` when it is no archive or over a limit, `UnpackError` when it is
        damaged or holds what must not be unpacked, `TransientError` when the disk says no.

        After each of them no unpacked file is left.

        If cancelled: stops soon; what was unpacked so far stays until `remove`.
        """
        ...

    async def remove(self) -> None:
        """Remove the directory with all that is in it, whatever the app made of it.

        Safe to call more than once.  Never raises for what cannot be removed: logs it.

        If cancelled: stops soon, and the rest stays.
        """
        ...


class Workspaces(Protocol):
    """All files of an agent."""

    @property
    def cache(self) -> ArchiveCache:
        """The archives that come from somewhere else."""
        ...

    def open(self, slug: str) -> Workspace:
        """Make the workspace of a process; quick, nothing is written before it is used."""
        ...


@contextlib.asynccontextmanager
async def open_workspaces(
    parent: Path | None, limits: SourceLimits, cache: Cache | None = None
) -> AsyncGenerator[Workspaces]:
    """Make the agent's own directory below `parent`, and remove it at the end.

    What agents that were killed left there is removed first.

    parent: made if it is missing; None is the system's directory for temporary files.
    cache: if it names no directory, the archives are in the agent's own.

    Raises `StartError` when there can be no such directory.
    """
    cache = cache or Cache()
    where = Path(tempfile.gettempdir()) if parent is None else parent
    with contextlib.ExitStack() as stack:
        try:
            where.mkdir(parents=True, exist_ok=True)
            directory = stack.enter_context(open_owned_dir(where))
        except OSError as exc:
            raise StartError(f"cannot keep sources in {where}: {exc.strerror}") from exc
        await trio.to_thread.run_sync(remove_dead, where, trio.from_thread.check_cancelled)
        try:
            where = cache.cache_dir or directory / "cache"
            async with open_cache(where, cache, limits) as archives:
                yield _Workspaces(
                    directory=directory,
                    limits=limits,
                    cache=archives,
                    unpackers=Unpackers(),
                    removers=trio.CapacityLimiter(REMOVERS),
                )
        finally:
            with trio.move_on_after(REMOVE_TIMEOUT, shield=True):
                await trio.to_thread.run_sync(_remove, directory)


@attrs.frozen(kw_only=True)
class _Workspaces:
    directory: Path
    limits: SourceLimits
    cache: ArchiveCache
    unpackers: Unpackers
    removers: trio.CapacityLimiter

    def open(self, slug: str) -> Workspace:
        return _Workspace(slug=slug, parent=self)


@attrs.define(eq=False, kw_only=True)
class _Workspace:
    slug: str
    parent: _Workspaces
    _directory: Path | None = None

    async def unpack(self, archive: Path) -> Unpacked:
        with _disk_errors():
            app = self._make_directory() / "app"
            async with self.parent.unpackers.turn(archive) as limiter:
                return await trio.to_thread.run_sync(
                    _unpack, archive, app, self.parent.limits, limiter=limiter
                )

    async def remove(self) -> None:
        if self._directory is None:
            await trio.lowlevel.checkpoint()
            return
        await trio.to_thread.run_sync(_remove, self._directory, limiter=self.parent.removers)
        self._directory = None

    def _make_directory(self) -> Path:
        if self._directory is None:
            made = tempfile.mkdtemp(prefix=f"{self.slug}-", dir=self.parent.directory)
            self._directory = Path(made)
        return self._directory


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise TransientError(f"cannot keep the source: {exc.strerror or exc}") from exc


def _unpack(archive: Path, app: Path, limits: SourceLimits) -> Unpacked:
    """Unpack in a thread that trio started."""
    check = trio.from_thread.check_cancelled
    remove_tree(app, check)
    app.mkdir(mode=0o700)
    try:
        unpack(archive, app, limits, check)
        root, procfile = locate(app, limits.procfile_bytes)
    except (SourceError, OSError):
        remove_tree(app, check)
        raise
    return Unpacked(root=root, procfile=procfile)


def _remove(directory: Path) -> None:
    """Remove in a thread that trio started."""
    try:
        remove_tree(directory, trio.from_thread.check_cancelled)
    except OSError as exc:
        extra = {"path": str(directory), "error": str(exc)}
        logger.warning("cannot remove", extra=extra)

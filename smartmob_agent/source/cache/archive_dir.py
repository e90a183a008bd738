"""Archives below a directory that several agents may share.  Synchronous: for threads.

Each file in it is complete, whenever an agent was killed: a file gets its name, which is its
digest, after its last byte, and is never written again (see `archive_lock.py`).  Unfinished
files are in the agents' own directories, which are removed when their agents are dead (see
`owned_dir.py`).

An archive is read and compared with its name before it is used.  That also finds damage that no
order of writes prevents: disks that lose data, and changes by other programs.  So no write waits
for the disk (fsync(2)), which would cost more than reading the file once: an archive lost in a
power failure is detected and downloaded again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from smartmob_agent.source.cache.archive_lock import ArchiveLock, Check, place, remove, take
from smartmob_agent.source.cache.etags import KnownETag, etag_path, read_etag, write_etag
from smartmob_agent.source.trees.tree_dir import TreeDir

__all__ = ["ArchiveDir"]

logger = logging.getLogger(__name__)

BLOCK_BYTES = 4096
"""Space that the smallest file takes on most disks."""

FOREIGN = 0o022
"""Other users must not write to a directory whose files are trusted by their names."""

MAX_FILES = 10_000
"""Of archives, and of known ETags: a scan of so many takes a moment."""

_NAME = re.compile("[0-9a-f]{64}")


@attrs.define(eq=False, kw_only=True)
class ArchiveDir:
    """Archives by digest, downloaded or uploaded, and the ETags of URLs.

    limit_bytes: of all archives and trees together; those that are in use may exceed it.
    min_free_bytes: of the disk; archives and trees are removed to keep so much free.
    full: whether what is in use exceeded the limit at the last `trim`.
    trees: what builds have made of archives.
    """

    directory: Path
    limit_bytes: int
    min_free_bytes: int = 0
    full: bool = False
    trees: TreeDir | None = None

    def prepare(self) -> None:
        """Make missing directories; raises `OSError`, also if other users may write to them."""
        for path in (self._downloads, self._uploads, self._etags):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
            if status.st_uid != os.geteuid() or status.st_mode & FOREIGN:
                raise PermissionError(0, "expected a directory that nobody else may write to")

    def find(self, sha256: str, check: Check) -> ArchiveLock | None:
        """Return the archive with a lock on it, None if it is missing or damaged."""
        for directory in (self._downloads, self._uploads):
            if lock := take(directory / sha256, check):
                return lock
        return None

    def keep(self, part: Path, sha256: str, check: Check, *, uploaded: bool) -> ArchiveLock:
        """Turn a complete file into an archive, and lock it; the file loses its own name.

        part: the file, on the same disk.
        sha256: its digest.
        """
        directory = self._uploads if uploaded else self._downloads
        return place(part, directory / sha256, check)

    def trim(self) -> None:
        """Remove the least recently used archives and trees, until the others are within the
        limits.
        """
        files = self._with_trees(_oldest_first(self._downloads, self._uploads))
        total, count = sum(file.size for file in files), len(files)
        lacking = self._lacking()
        for file in files:
            if total <= self.limit_bytes and count <= MAX_FILES and lacking <= 0:
                break
            if self._evict(file):
                total, count, lacking = total - file.size, count - 1, lacking - file.size
        self.full = total > self.limit_bytes
        self._forget()

    def make_room(self) -> None:
        """Remove all downloads and trees that are not in use: the disk is full."""
        for file in self._with_trees(_oldest_first(self._downloads)):
            self._evict(file)
        self._forget()

    def _with_trees(self, files: Sequence[_File]) -> Sequence[_File]:
        """Add the trees in their order of age."""
        kept = () if self.trees is None else self.trees.kept()
        trees = [_File(one.path, one.size, one.used, is_tree=True) for one in kept]
        return sorted([*files, *trees], key=lambda file: file.used)

    def _evict(self, file: _File) -> bool:
        if file.is_tree and self.trees is not None:
            removed = self.trees.remove(file.path)
        else:
            removed = remove(file.path)
        if removed:
            extra = {"build" if file.is_tree else "sha256": file.path.name}
            logger.info("evicted", extra=extra)
        return removed

    def _lacking(self) -> int:
        """Bytes that the disk lacks; negative if it has more than enough."""
        disk = os.statvfs(self.directory)
        return self.min_free_bytes - disk.f_bavail * disk.f_frsize

    def uploads(self) -> Iterator[tuple[str, float]]:
        """Digest of each upload, and the seconds since its last use."""
        now = time.time()
        for file in _oldest_first(self._uploads):
            yield file.path.name, max(now - file.used, 0.0)

    def expire(self, sha256: str, age: float) -> float:
        """Remove an upload whose last use was `age` seconds ago.

        Returns the seconds until the next try, if it was used since or is in use; 0 if there is
        no such upload any more.
        """
        path = self._uploads / sha256
        try:
            unused = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0
        if unused < age:
            return min(age - unused, age)
        if not remove(path):
            return age
        logger.info("expired", extra={"sha256": sha256})
        return 0.0

    def recall(self, url: str) -> KnownETag | None:
        """Return the last known ETag of a URL, None if there is none; the archive may be gone."""
        return read_etag(etag_path(self._etags, url))

    def remember(self, url: str, known: KnownETag, scratch: Path) -> None:
        """Keep the ETag of a URL.

        scratch: path of a temporary file, on the same disk.
        """
        write_etag(etag_path(self._etags, url), known, scratch)

    def _forget(self) -> None:
        """Remove the ETags of missing archives, and the oldest of too many."""
        etags = _oldest_first(self._etags)
        for file in etags[:-MAX_FILES]:
            file.path.unlink(missing_ok=True)
        for file in etags[-MAX_FILES:]:
            known = read_etag(file.path)
            if known is None or not self._has(known.sha256):
                file.path.unlink(missing_ok=True)

    def _has(self, sha256: str) -> bool:
        return (self._downloads / sha256).exists() or (self._uploads / sha256).exists()

    @property
    def _downloads(self) -> Path:
        return self.directory / "downloads"

    @property
    def _uploads(self) -> Path:
        return self.directory / "uploads"

    @property
    def _etags(self) -> Path:
        return self.directory / "urls"


@attrs.frozen
class _File:
    """used: seconds since the epoch."""

    path: Path
    size: int
    used: float
    is_tree: bool = False


def _oldest_first(*directories: Path) -> list[_File]:
    files = []
    for directory in directories:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not _NAME.fullmatch(entry.name):
                    continue
                with contextlib.suppress(FileNotFoundError):  # another agent was quicker
                    status = entry.stat(follow_symlinks=False)
                    size = -(-status.st_size // BLOCK_BYTES) * BLOCK_BYTES
                    files.append(_File(Path(entry.path), size, status.st_mtime))
    return sorted(files, key=lambda file: file.used)

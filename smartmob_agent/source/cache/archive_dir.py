"""Archives below a directory that several agents may share.  Synchronous: for threads.

It holds what is in it to be complete, whenever an agent was killed: a file gets its name, its
digest, when the last byte is written, and nobody writes to it then (see `hold.py`).  What was
not complete is in the directories that agents keep for themselves, which are removed when
their agents are dead (see `lease.py`).

An archive is read and compared with its name before it is used.  That finds what no order of
writing prevents, too: disks that forget, and what other programs did.  So nobody waits until a
file is on the disk (fsync(2)), which costs more than to read it once: what a machine lost with
its power is found out, and downloaded again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from smartmob_agent.source.cache.archive_lock import ArchiveLock, Check, place, remove, take
from smartmob_agent.source.cache.etags import KnownETag, etag_path, read_etag, write_etag

__all__ = ["ArchiveDir"]

logger = logging.getLogger(__name__)

BLOCK_BYTES = 4096
"""What the smallest file takes on most disks."""

FOREIGN = 0o022
"""Nobody else may write where archives are found by their names."""

MAX_FILES = 10_000
"""Of archives, and of notes: so many can be looked at in a moment."""

_NAME = re.compile("[0-9a-f]{64}")


@attrs.define(eq=False, kw_only=True)
class ArchiveDir:
    """The archives, by digest: what was downloaded, what was uploaded, and notes on URLs.

    limit_bytes: of all archives together; those that are held may be more.
    min_free_bytes: of the disk; archives go before others lack it.
    full: whether there were too many that are held, the last time.
    """

    directory: Path
    limit_bytes: int
    min_free_bytes: int = 0
    full: bool = False

    def prepare(self) -> None:
        """Make what is missing; raises `OSError`, also where other users may write."""
        for path in (self._downloads, self._uploads, self._notes):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
            if status.st_uid != os.geteuid() or status.st_mode & FOREIGN:
                raise PermissionError(0, "expected a directory that nobody else may write to")

    def find(self, sha256: str, check: Check) -> ArchiveLock | None:
        """Return the archive, held, if it is here and not damaged."""
        for directory in (self._downloads, self._uploads):
            if hold := take(directory / sha256, check):
                return hold
        return None

    def keep(self, part: Path, sha256: str, check: Check, *, uploaded: bool) -> ArchiveLock:
        """Make an archive of a complete file, which loses its own name; hold it.

        part: on the same disk.
        sha256: its digest.
        """
        directory = self._uploads if uploaded else self._downloads
        return place(part, directory / sha256, check)

    def trim(self) -> None:
        """Remove what was not used for longest, until the rest is within the limit."""
        files = _oldest_first(self._downloads, self._uploads)
        total, count = sum(file.size for file in files), len(files)
        lacking = self._lacking()
        for file in files:
            if total <= self.limit_bytes and count <= MAX_FILES and lacking <= 0:
                break
            if _evict(file):
                total, count, lacking = total - file.size, count - 1, lacking - file.size
        self.full = total > self.limit_bytes
        self._forget()

    def make_room(self) -> None:
        """Remove all downloads that nobody holds: the disk is full, and they can come again."""
        for file in _oldest_first(self._downloads):
            _evict(file)
        self._forget()

    def _lacking(self) -> int:
        """Bytes that the disk has too few."""
        disk = os.statvfs(self.directory)
        return self.min_free_bytes - disk.f_bavail * disk.f_frsize

    def uploads(self) -> Iterator[tuple[str, float]]:
        """Each upload, and the seconds for which it was not used."""
        now = time.time()
        for file in _oldest_first(self._uploads):
            yield file.path.name, max(now - file.used, 0.0)

    def expire(self, sha256: str, age: float) -> float:
        """Remove an upload that was not used for `age` seconds.

        Returns the seconds after which it may be time: it was used meanwhile, or is held; 0 when
        it is not here any more.
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
        """Return what was found at a URL, if that is known; the archive may be gone."""
        return read_etag(etag_path(self._notes, url))

    def remember(self, url: str, note: KnownETag, scratch: Path) -> None:
        """Note what was found at a URL.

        scratch: a file to be made, on the same disk.
        """
        write_etag(etag_path(self._notes, url), note, scratch)

    def _forget(self) -> None:
        """Remove notes on archives that are not here any more, and the oldest of too many."""
        notes = _oldest_first(self._notes)
        for file in notes[:-MAX_FILES]:
            file.path.unlink(missing_ok=True)
        for file in notes[-MAX_FILES:]:
            note = read_etag(file.path)
            if note is None or not self._has(note.sha256):
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
    def _notes(self) -> Path:
        return self.directory / "urls"


@attrs.frozen
class _File:
    """used: seconds since the epoch."""

    path: Path
    size: int
    used: float


def _evict(file: _File) -> bool:
    removed = remove(file.path)
    if removed:
        logger.info("evicted", extra={"sha256": file.path.name})
    return removed


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

"""The number of the next line of each process, where it outlives a SIGKILL of the agent.

Readers are told lines before the disk has them.  So that none of their numbers is given twice, the
next number is in shared memory (/dev/shm), which costs a store and never waits for a disk.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from smartmob_agent.output.log.segment import OPEN

__all__ = ["SHARED_MEMORY", "Mark", "Marks", "find_marks"]

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- whose the file is there is checked

_SLOT = struct.Struct("=Q136s")
_NUMBER = struct.Struct("=Q")
_SLOTS = 16 * 1024
"""Of processes at one time; memory is used up to the last one that was taken."""

_NOBODY = "agent"
"""No slug: it has no dot."""


def find_marks(shared: Path, directory: Path) -> Path:
    """Return the file of the marks of a directory of logs; it may be missing.

    shared: where shared memory has files; where that is not possible, the file is with the logs.

    Raises `OSError`.
    """
    status = directory.stat()
    name = f"smartmob-agent-{os.geteuid()}-{status.st_dev:x}-{status.st_ino:x}"
    for path in (shared / name, directory / "marks"):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | OPEN, stat.S_IRUSR | stat.S_IWUSR)
        except OSError:
            continue  # Anybody may make files in /dev/shm, and it may be missing.
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            return path
    raise FileNotFoundError(f"cannot make {path}")


class Mark:
    """The number of one process."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory, self.offset = memory, offset

    def set(self, number: int) -> None:
        """Note the number of the next line."""
        _NUMBER.pack_into(self._memory, self.offset, number)


class Marks:
    """The marks of all processes, in one file that is mapped into memory.

    found: slug → number, as an earlier life of the agent has left them.
    were_left: whether one has left any file, and not the machine has ended with it.

    Raises `OSError`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        fd = os.open(path, os.O_RDWR | OPEN)
        try:
            found = dict(_read(os.pread(fd, _SLOTS * _SLOT.size, 0)))
            self.were_left = found.pop(_NOBODY, None) is not None
            self.found: Mapping[str, int] = found
            os.ftruncate(fd, 0)
            os.ftruncate(fd, _SLOTS * _SLOT.size)
            self._memory = mmap.mmap(fd, _SLOTS * _SLOT.size)
        finally:
            os.close(fd)
        self._free = list(range(_SLOTS * _SLOT.size - _SLOT.size, -1, -_SLOT.size))
        self.take(_NOBODY, 1)

    def take(self, slug: str, number: int) -> Mark | None:
        """Return the mark of a process; None if there are too many processes."""
        if not self._free:
            return None
        offset = self._free.pop()
        _SLOT.pack_into(self._memory, offset, number, slug.encode())
        return Mark(self._memory, offset)

    def give_back(self, mark: Mark) -> None:
        """The number is kept elsewhere."""
        _SLOT.pack_into(self._memory, mark.offset, 0, b"")
        self._free.append(mark.offset)

    def remove(self) -> None:
        """All numbers are kept elsewhere; raises `OSError`."""
        self._path.unlink(missing_ok=True)


def _read(data: bytes) -> Iterator[tuple[str, int]]:
    whole = len(data) - len(data) % _SLOT.size
    for number, slug in _SLOT.iter_unpack(data[:whole]):
        if number:
            yield slug.rstrip(b"\0").decode("ascii", "replace"), number

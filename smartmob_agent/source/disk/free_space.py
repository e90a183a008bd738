"""The part of a disk that may be used."""

from __future__ import annotations

import errno
import os

import attrs

__all__ = ["FreeSpace"]

# Others write to the disk at the same time, so it is looked at again after so many bytes.
LOOK_BYTES = 16 * 1024 * 1024


@attrs.define(eq=False, kw_only=True)
class FreeSpace:
    """What may be written to a disk, a part of which stays free.

    fd: of any file or directory on the disk.
    """

    fd: int
    min_free_bytes: int
    _known_bytes: int = 0

    def take(self, size: int) -> None:
        """Say that `size` bytes are to be written; quick, the disk is not looked at each time.

        Raises `OSError` when fewer than `min_free_bytes` would be left.
        """
        self._known_bytes -= size
        if self._known_bytes < 0:
            self._known_bytes = min(self._look(size), LOOK_BYTES)

    def _look(self, size: int) -> int:
        disk = os.statvfs(self.fd)
        free = disk.f_bavail * disk.f_frsize
        room = free - size - self.min_free_bytes
        if room < 0:
            raise OSError(
                errno.ENOSPC,
                f"expected {self.min_free_bytes} bytes of the disk to stay free beside {size} "
                f"that are to be written, found {free}",
            )
        return room

"""Free space of a disk, some of which must stay free."""

from __future__ import annotations

import errno
import os

import attrs

__all__ = ["DISK_FULL", "FreeSpace"]

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

# Other programs write to the disk too, so its free space is read again after so many bytes.
LOOK_BYTES = 16 * 1024 * 1024


@attrs.define(eq=False, kw_only=True)
class FreeSpace:
    """How much may be written to a disk of which `min_free_bytes` stay free.

    fd: of any file or directory on the disk.
    """

    fd: int
    min_free_bytes: int
    _known_bytes: int = 0

    def take(self, size: int) -> None:
        """Take the space for `size` bytes; quick, the free space is not read each time.

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

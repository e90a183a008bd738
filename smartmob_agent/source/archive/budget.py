"""What one archive may use up: numbers, bytes, and names that the file system keeps apart."""

from __future__ import annotations

import contextlib
import os
import unicodedata

import attrs

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.source.archive.members import excess, refusal

__all__ = ["Budget", "CaseCollisions", "folds_names"]

# Allowed even for the smallest archive: honest ones with a log or an empty database shrink to
# nearly nothing, too.
RATIO_FREE_BYTES = 64 * 1024 * 1024

# Links are kept in memory until the end; real apps have some thousand short ones.
LINK_BYTES = 8 * 1024 * 1024

_NAME, _OTHER_CASE, _OTHER_COMPOSITION = "\u00e9a", "\u00e9A", "e\u0301a"
"""One name in two cases and in two compositions: "é" is one character or two."""


@attrs.define(eq=False, kw_only=True)
class Budget:
    """Counts what is unpacked from an archive; every excess is a `DownloadError`.

    archive_bytes: size of the archive itself.
    """

    limits: SourceLimits
    archive_bytes: int
    _members: int = 0
    _bytes: int = 0
    _link_bytes: int = 0

    @property
    def bytes(self) -> int:
        """How many bytes may be unpacked, in all."""
        return min(self.limits.unpacked_bytes, self._bytes_by_ratio)

    def count(self, name: str) -> None:
        """Count a member, or a directory that a member implies."""
        self._members += 1
        if self._members > self.limits.members:
            raise excess(name, f"at most {self.limits.members} members, found more")

    def take_bytes(self, name: str, size: int) -> None:
        """Count the content of a file."""
        self._bytes += size
        if self._bytes > self.bytes:
            is_bomb = self._bytes_by_ratio < self.limits.unpacked_bytes
            source = f" from an archive of {self.archive_bytes}" if is_bomb else ""
            raise excess(name, f"at most {self.bytes} bytes in all{source}, found more")

    def take_link(self, name: str, size: int) -> None:
        """Count the path and the target of a symbolic link."""
        self._link_bytes += size
        if self._link_bytes > LINK_BYTES:
            raise excess(name, f"links of at most {LINK_BYTES} bytes in all")

    @property
    def _bytes_by_ratio(self) -> int:
        return max(int(self.limits.unpacked_ratio * self.archive_bytes), RATIO_FREE_BYTES)


def folds_names(root_fd: int) -> bool:
    """Try whether two spellings are one name to the file system (ext4 "casefold", VFAT, APFS).

    root_fd: an empty directory, which is empty again afterwards.  The result may differ between
        directories of one disk (chattr(1), attribute F), so each one is tried.
    """
    try:
        os.close(os.open(_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=root_fd))
    except OSError:  # It has no such names, or no space: unpacking shows which.
        return True
    found = False
    for spelling in (_OTHER_CASE, _OTHER_COMPOSITION):
        with contextlib.suppress(OSError):
            os.stat(spelling, dir_fd=root_fd, follow_symlinks=False)
            found = True
    os.unlink(_NAME, dir_fd=root_fd)
    return found


@attrs.define(eq=False)
class CaseCollisions:
    """The paths that an archive has used.

    Only hashes are kept: a hundred thousand long paths would take too much memory.  The chance
    that two of them have the same hash is below one in a thousand million.
    """

    _seen: dict[int, int] = attrs.field(factory=dict)

    def use(self, path: str) -> None:
        """Add a path; raises `UnpackError` if an earlier one differs from it in case only."""
        folded = _fold(path)
        key = hash(folded)
        own = key if folded == path else hash(path)  # the same object takes no more memory
        if self._seen.setdefault(key, own) != own:
            raise refusal(path, "it differs from an earlier member's name only in case")


def _fold(path: str) -> str:
    """The same for all spellings of a name (Unicode 15, definition D145)."""
    if path.isascii():
        return path.lower()
    decomposed = unicodedata.normalize("NFD", path)
    return unicodedata.normalize("NFD", decomposed.casefold())

"""What one archive may cost, and what it has cost so far."""

from __future__ import annotations

import attrs

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.source.archive.members import excess

__all__ = ["Budget"]

# So much may come out of the smallest archive: honest ones with a log or an empty database
# in them shrink to nearly nothing, too.
RATIO_FREE_BYTES = 64 * 1024 * 1024

# Links are kept in memory until the end; real apps have some thousand short ones.
LINK_BYTES = 8 * 1024 * 1024


@attrs.define(eq=False, kw_only=True)
class Budget:
    """Counts what comes out of an archive; every excess is a `DownloadError`.

    archive_bytes: size of the archive itself.
    """

    limits: SourceLimits
    archive_bytes: int
    _members: int = 0
    _bytes: int = 0
    _link_bytes: int = 0

    @property
    def bytes(self) -> int:
        """How many bytes may come out, in all."""
        return min(self.limits.unpacked_bytes, self._bytes_by_ratio)

    def count(self, name: str) -> None:
        """Count a member, or a directory that one implies."""
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

"""What /proc says of one process (proc(5)).  Synchronous: for threads.

Files are read without file objects, which would take as long as the reading.
"""

# Without pathlib for the same reason:
# ruff: noqa: PTH116, PTH208

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import attrs

__all__ = ["Proc", "Stat"]

_STAT_BYTES = 4096
_ROLLUP_BYTES = 4096
_CHILDREN_BYTES = 1 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Stat:
    """A process at one moment.

    cpu_seconds: of itself.
    reaped_seconds: of the children that it has waited for.
    start: clock ticks since boot; tells two processes with the same number apart.
    rss_bytes: its pages in memory, those that it shares included.
    """

    parent: int
    is_zombie: bool
    threads: int
    start: int
    cpu_seconds: float
    reaped_seconds: float
    rss_bytes: int


def _read(path: str, most: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, most)
    finally:
        os.close(fd)


@attrs.frozen
class Proc:
    """Reads below a directory, which is /proc but for tests."""

    _root: str = "/proc"

    def stat(self, pid: int) -> Stat | None:
        """Return its figures; None if there is no such process."""
        try:
            text = _read(f"{self._root}/{pid}/stat", _STAT_BYTES)
        except OSError:
            return None
        # The name in parentheses may hold anything, more parentheses too.
        fields = text.rpartition(b")")[2].split()
        return Stat(
            parent=int(fields[1]),
            is_zombie=fields[0] in (b"Z", b"X"),
            threads=int(fields[17]),
            start=int(fields[19]),
            cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
            reaped_seconds=(int(fields[13]) + int(fields[14])) / _TICKS,
            rss_bytes=int(fields[21]) * _PAGE_BYTES,
        )

    def children(self, pid: int, threads: int) -> list[int]:
        """Its children, which may be those of any of its threads; none if it is gone."""
        tasks = f"{self._root}/{pid}/task"
        found: list[int] = []
        with contextlib.suppress(OSError):
            for thread in os.listdir(tasks) if threads > 1 else (pid,):
                with contextlib.suppress(OSError):  # it has just ended
                    found += map(int, _read(f"{tasks}/{thread}/children", _CHILDREN_BYTES).split())
        return found

    def pss_bytes(self, pid: int) -> int | None:
        """Its share of the memory that it uses; None if that must not be read."""
        try:
            text = _read(f"{self._root}/{pid}/smaps_rollup", _ROLLUP_BYTES)
        except OSError:
            return None
        _, found, rest = text.partition(b"\nPss:")
        return int(rest.split(maxsplit=1)[0]) * 1024 if found else None

    def open_fds(self, pid: int) -> int:
        """How many descriptors it has open; 0 if that must not be read."""
        path = f"{self._root}/{pid}/fd"
        with contextlib.suppress(OSError):
            # Linux tells the number as the size from 6.2 on, and before it says 0.
            return os.stat(path).st_size or len(os.listdir(path))
        return 0

    def cgroup(self, pid: int) -> str:
        """The path of its cgroup v2, empty if there is none."""
        with contextlib.suppress(OSError):
            for line in _read(f"{self._root}/{pid}/cgroup", _STAT_BYTES).decode().splitlines():
                if line.startswith("0::"):
                    return line.removeprefix("0::")
        return ""

    @property
    def lists_children(self) -> bool:
        """Whether the kernel can list children at all (CONFIG_PROC_CHILDREN)."""
        return (Path(self._root) / "thread-self/children").exists()

    def parents(self) -> dict[int, int]:
        """All processes of the machine → their parents, where it does not."""
        with contextlib.suppress(OSError):
            pids = [int(name) for name in os.listdir(self._root) if name.isdigit()]
            return {pid: stat.parent for pid in pids if (stat := self.stat(pid)) is not None}
        return {}

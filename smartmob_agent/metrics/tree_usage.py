"""What the tree of a child uses: processor, memory and descriptors.  Synchronous: for threads.

A tree is found by its guard, the parent of the child: as subreaper it is the parent of all
that the child left behind, too.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import attrs

from smartmob_agent.metrics.proc import Proc, Stat

__all__ = ["TreeReader", "Usage", "Usages"]

ItemT = TypeVar("ItemT")
KeyT = TypeVar("KeyT", bound=Hashable)

_MOST_MEMBERS = 2000
"""Of one tree: what a fork bomb has beyond that is not looked at, or a scrape would never end."""
_PSS_INTERVAL = 300.0
"""Seconds for which the share of a process is good while the number of its pages is about the same.
It is the dearest figure of all, and where memory is short the kernel takes pages of the idle."""
_PSS_TOLERANCE = 0.05
"""How many of its pages may come or go meanwhile."""
_MOST_READ_AGAIN = 50
"""Shares in one reading, of processes that were known before: 0.3 ms for one of Python."""


@attrs.frozen(kw_only=True)
class Usage:
    """What a tree uses at one moment.

    cpu_seconds: since its child was started, with those of its members that have ended.
    memory_bytes: PSS, what of shared pages falls to it; of processes that must not be looked
        into, all of their pages; in a cgroup that counts memory, what it says.
    open_fds: descriptors, but for those of processes that must not be looked into.
    processes: members that are alive.
    """

    cpu_seconds: float
    memory_bytes: int
    open_fds: int
    processes: int


@attrs.frozen(kw_only=True)
class _Share:
    """The share of a process, and its pages, when that was read."""

    rss_bytes: int
    share_bytes: int
    read_at: float

    def estimate(self, rss_bytes: int) -> int:
        """Return the share, as if it came and went with the pages."""
        return round(self.share_bytes * rss_bytes / self.rss_bytes) if self.rss_bytes else rss_bytes

    def is_good(self, rss_bytes: int, now: float) -> bool:
        change = abs(rss_bytes - self.rss_bytes)
        return now - self.read_at < _PSS_INTERVAL and change <= _PSS_TOLERANCE * self.rss_bytes


class TreeReader:
    """Reads trees.

    proc: where processes are read.
    cgroup: of the agent, in which each child has its own.
    now: seconds, as `time.monotonic`.
    """

    def __init__(self, proc: Proc, cgroup: Path | None, now: Callable[[], float]) -> None:
        self._proc = proc
        self._cgroup = cgroup
        self._now = now
        self._lists_children = proc.lists_children
        self._shares: dict[tuple[int, int], _Share] = {}
        self._old_shares: dict[tuple[int, int], _Share] = {}
        self._rereads = self._turn = 0
        self._families: Mapping[int, Collection[int]] = {}

    def read(self, pids: Collection[int], check: Callable[[], None]) -> Mapping[int, Usage]:
        """Return the pids of children → what their trees use; who has ended is left out.

        check: is called before each tree, and may raise.
        """
        stats = {pid: stat for pid in pids if (stat := self._proc.stat(pid)) is not None}
        if not self._lists_children:
            self._families = _families(self._proc.parents())
        self._old_shares, self._shares = self._shares, {}
        self._rereads = 0
        self._turn += _MOST_READ_AGAIN  # so that all have their turn to be read again
        shared = Counter(stat.parent for stat in stats.values())
        usages = {}
        for pid, stat in _rotate([*stats.items()], self._turn):
            check()
            is_guard = shared[stat.parent] == 1 and stat.parent not in _not_guards()
            usages[pid] = self._read_tree(pid, stat, stat.parent if is_guard else None)
        self._old_shares = {}
        return usages

    def _read_tree(self, pid: int, main: Stat, guard: int | None) -> Usage:
        cpu, memory, fds, count = 0.0, 0, 0, 0
        group_cpu, group_memory = self._read_cgroup(pid)
        todo: list[int] = [pid]
        if guard is not None and (stat := self._proc.stat(guard)) is not None:
            cpu += stat.reaped_seconds  # before its children: nobody's time is left out
            todo = [*self._children(guard, stat.threads)] or todo
        for member in todo:  # which grows meanwhile
            stat = main if member == pid else self._proc.stat(member)
            if stat is None:
                continue
            cpu += stat.cpu_seconds + stat.reaped_seconds
            if not stat.is_zombie:
                count += 1
                fds += self._proc.open_fds(member)
                memory += self._share(member, stat) if group_memory is None else 0
                if len(todo) < _MOST_MEMBERS:
                    todo += self._children(member, stat.threads)
        return Usage(
            cpu_seconds=cpu if group_cpu is None else group_cpu,
            memory_bytes=memory if group_memory is None else group_memory,
            open_fds=fds,
            processes=count,
        )

    def _children(self, pid: int, threads: int) -> Collection[int]:
        if self._lists_children:
            return self._proc.children(pid, threads)
        return self._families.get(pid, ())

    def _share(self, pid: int, stat: Stat) -> int:
        key, now = (pid, stat.start), self._now()
        known = self._old_shares.get(key)
        if known is None or self._may_read_again(known, stat, now):
            found = self._proc.pss_bytes(pid)
            share = stat.rss_bytes if found is None else found
            known = _Share(rss_bytes=stat.rss_bytes, share_bytes=share, read_at=now)
        self._shares[key] = known
        return known.estimate(stat.rss_bytes)

    def _may_read_again(self, known: _Share, stat: Stat, now: float) -> bool:
        if known.is_good(stat.rss_bytes, now) or self._rereads >= _MOST_READ_AGAIN:
            return False
        self._rereads += 1
        return True

    def _read_cgroup(self, pid: int) -> tuple[float | None, int | None]:
        """Seconds and bytes, as far as the cgroup of the child knows them."""
        if self._cgroup is None:
            return None, None
        mark = f"app-{os.getpid()}-"
        name = next((x for x in self._proc.cgroup(pid).split("/") if x.startswith(mark)), None)
        if name is None:
            return None, None
        return _cpu_seconds(self._cgroup / name), _memory_bytes(self._cgroup / name)


def _cpu_seconds(cgroup: Path) -> float | None:
    try:
        words = (cgroup / "cpu.stat").read_text().split()
        return int(words[words.index("usage_usec") + 1]) / 1e6
    except (OSError, ValueError):
        return None


def _memory_bytes(cgroup: Path) -> int | None:
    try:
        return int((cgroup / "memory.current").read_text())
    except OSError:  # the controller was not delegated
        return None


def _rotate(items: Sequence[ItemT], turn: int) -> Sequence[ItemT]:
    """Begin with another one each time."""
    first = turn % len(items) if items else 0
    return [*items[first:], *items[:first]]


def _not_guards() -> Collection[int]:
    """Parents of more than one tree: who started the child may have no guard."""
    return {0, 1, os.getpid(), os.getppid()}


def _families(parents: Mapping[int, int]) -> Mapping[int, Collection[int]]:
    """Processes → their children."""
    families: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        families.setdefault(parent, []).append(pid)
    return families


@attrs.define(eq=False)
class _Clock:
    """The processor time of all children of a process, which never goes back.

    A member that ends while its tree is read may be missing for once, and who ignores SIGCHLD
    loses the time of its children: Prometheus would take less than before for a new beginning.
    """

    starts: int = 0
    _before: float = 0.0
    _now: float = 0.0

    def set(self, starts: int, seconds: float) -> None:
        if starts != self.starts:
            self.starts, self._before, self._now = starts, self.total, 0.0
        self._now = max(self._now, seconds)

    @property
    def total(self) -> float:
        return self._before + self._now


class Usages(Generic[KeyT]):
    """Usage by process, which may be anything that has an identity."""

    def __init__(self) -> None:
        self._latest: dict[KeyT, Usage] = {}
        self._clocks: dict[KeyT, _Clock] = {}
        self._read_at = -math.inf

    def age(self, now: float) -> float:
        """Seconds since the last reading."""
        return now - self._read_at

    def update(self, usages: Mapping[KeyT, Usage], starts: Mapping[KeyT, int], now: float) -> None:
        """Take a reading.

        usages: process → what its tree uses; those without a tree are left out.
        starts: process → which of its children that is.
        """
        self._read_at = now
        self._latest = dict(usages)
        for process, usage in usages.items():
            self._clocks.setdefault(process, _Clock()).set(starts[process], usage.cpu_seconds)

    def keep(self, processes: Iterable[KeyT]) -> None:
        """Forget all but these."""
        self._clocks = {key: self._clocks[key] for key in processes if key in self._clocks}

    def latest(self, process: KeyT) -> Usage | None:
        """What its tree used at the last reading."""
        return self._latest.get(process)

    def cpu_seconds(self, process: KeyT) -> float | None:
        """Of all its children; None if none was read."""
        clock = self._clocks.get(process)
        return None if clock is None else clock.total

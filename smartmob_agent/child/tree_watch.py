"""A watch on the number of processes of each tree, where no cgroup counts them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import attrs
import trio

from smartmob_agent.child.limits import tasks_of_user

__all__ = ["TreeWatch", "WatchedTree", "members_of_trees"]

_LOOK_INTERVAL = 1.0
"""Seconds between two looks at how much runs on the machine: one small file."""

_LONGEST_INTERVAL = 30.0
"""Seconds between two looks at all trees, which read a file for each process of the machine."""

_PARENT, _THREADS = 1, 17
"""Fields of /proc/PID/stat after the name of the program (proc(5))."""

_NEARLY = 0.9
"""Of a limit of the user: who fails to start a process then has met it, most likely."""


class WatchedTree(Protocol):
    """What can be killed for what it does."""

    def kill_because(self, reason: str) -> None:
        """Kill all of it, and let its exit tell the reason."""
        ...


@attrs.frozen(kw_only=True)
class _Count:
    """What was counted at one moment; threads count as in RLIMIT_NPROC and pids.max.

    total: on the whole machine.
    user: of the user; 0 if nobody looked.
    trees: shim → tasks below it; None if nobody looked.
    """

    total: int
    user: int
    trees: Mapping[int, int] | None


@attrs.define(eq=False, kw_only=True)
class TreeWatch:
    """Kills trees that have too many processes.

    most: tasks of one tree; None for no bound.
    user_most: RLIMIT_NPROC of children, of which `hint` tells; None for no bound.
    trees: returns the pid of each shim → what is below it.
    """

    most: int | None
    user_most: int | None
    trees: Callable[[], Mapping[int, WatchedTree]]
    proc: Path = Path("/proc")
    _user: int = attrs.field(default=0, init=False)
    _seen: int = attrs.field(default=0, init=False)
    """Tasks of the machine, the fewest since all trees were looked at."""
    _seen_at: float = attrs.field(default=float("-inf"), init=False)

    @property
    def hint(self) -> str:
        """Why a child that has failed just now may have; empty if nothing is known."""
        if self.user_most is None or self._user < _NEARLY * self.user_most:
            return ""
        return (
            f"its user runs {self._user} processes and threads, of at most {self.user_most} "
            "(RLIMIT_NPROC; see --max-user-processes)"
        )

    async def run(self) -> None:
        """Watch until cancelled; nothing to do without any bound."""
        if self.most is None and self.user_most is None:
            return
        thread = trio.CapacityLimiter(1)  # never behind threads that unpack archives
        while True:
            if shims := tuple(self.trees()):
                now = trio.current_time()
                count = await trio.to_thread.run_sync(self._look, shims, now, limiter=thread)
                self._judge(count, now)
            await trio.sleep(_LOOK_INTERVAL)

    def _look(self, shims: Collection[int], now: float) -> _Count:
        """Count; in a thread.  All trees only if one of them can have become too large."""
        total, user, trees = _tasks_of_machine(self.proc), 0, None
        if self.most is not None and (
            2 * (total - self._seen) >= self.most or now - self._seen_at >= _LONGEST_INTERVAL
        ):
            trees = _tasks_of_trees(shims, self.proc)
        if self.user_most is not None and total >= _NEARLY * self.user_most:
            user = tasks_of_user(self.proc)
        return _Count(total=total, user=user, trees=trees)

    def _judge(self, count: _Count, now: float) -> None:
        self._user = count.user
        self._seen = min(self._seen, count.total)
        if count.trees is None or self.most is None:
            return
        self._seen, self._seen_at = count.total, now
        watched = self.trees()
        for shim, tasks in count.trees.items():
            if tasks > self.most and shim in watched:
                watched[shim].kill_because(
                    f"its tree had {tasks} processes and threads, of at most {self.most} "
                    "(--max-processes)"
                )


def _tasks_of_machine(proc: Path) -> int:
    """Count all threads, as the kernel does; 0 where it does not tell (proc_loadavg(5))."""
    try:
        return int((proc / "loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, IndexError, ValueError):
        return 0


def _tasks_of_trees(shims: Collection[int], proc: Path) -> Mapping[int, int]:
    """Count the threads below each shim."""
    trees = dict.fromkeys(shims, 0)
    for shim, _, threads in members_of_trees(shims, proc):
        trees[shim] += threads
    return trees


def members_of_trees(shims: Collection[int], proc: Path) -> Iterator[tuple[int, int, int]]:
    """Go through what is below shims: shim, pid and number of threads of each."""
    parents, threads = {}, {}
    for directory in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):  # it has just ended
            # The name in parentheses may hold anything, more parentheses too.
            fields = (directory / "stat").read_bytes().rpartition(b")")[2].split()
            pid = int(directory.name)
            parents[pid], threads[pid] = int(fields[_PARENT]), int(fields[_THREADS])
    for pid, count in threads.items():
        above, steps = parents[pid], 0
        while above in parents and above not in shims and steps < len(parents):
            above, steps = parents[above], steps + 1  # a reused number could make a ring
        if above in shims:
            yield above, pid, count

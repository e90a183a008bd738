"""A watch on trees with limits of their own, where no cgroup sees to these."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol

import attrs
import trio

from smartmob_agent.child.seam import ResourceLimits
from smartmob_agent.child.tree_watch import members_of_trees

__all__ = ["LimitWatch", "LimitedTree", "TreeUse", "read_trees"]

_INTERVAL = 5.0
"""Seconds between two looks: each reads some files for each process of the trees."""


class LimitedTree(Protocol):
    """What can be killed for what it uses."""

    @property
    def limits(self) -> ResourceLimits:
        """What it may use."""
        ...

    def kill_because(self, reason: str) -> None:
        """Kill all of it, and let its exit tell the reason."""
        ...


@attrs.frozen(kw_only=True)
class TreeUse:
    """What a tree uses.

    tasks: processes and threads.
    memory_bytes: proportional set size, of which shared pages are a part of each who shares them.
    """

    tasks: int
    memory_bytes: int


@attrs.define(eq=False, kw_only=True)
class LimitWatch:
    """Kills trees that use more than they may.

    trees: returns the pid of each shim → the tree below it.
    counted: names of limits to which cgroups see.
    """

    trees: Callable[[], Mapping[int, LimitedTree]]
    counted: Collection[str] = ()
    proc: Path = Path("/proc")
    _runs: bool = attrs.field(default=False, init=False)

    def start(self, nursery: trio.Nursery) -> None:
        """Watch in a task, unless one does, until nothing is left to be watched.

        Without such trees an idle agent is not woken up.
        """
        if not self._runs and self._watched():
            self._runs = True
            nursery.start_soon(self._run, name="limits")

    async def _run(self) -> None:
        thread = trio.CapacityLimiter(1)  # never behind threads that unpack archives
        try:
            while shims := self._watched():
                uses = await trio.to_thread.run_sync(read_trees, shims, self.proc, limiter=thread)
                self._judge(uses)
                await trio.sleep(_INTERVAL)
        finally:
            self._runs = False

    def _watched(self) -> list[int]:
        return [shim for shim, tree in self.trees().items() if self._bounds(tree)]

    def _bounds(self, tree: LimitedTree) -> Mapping[str, int]:
        limits = tree.limits
        asked = {"tasks": limits.tasks, "memory_bytes": limits.memory_bytes}
        return {
            name: most
            for name, most in asked.items()
            if most is not None and name not in self.counted
        }

    def _judge(self, uses: Mapping[int, TreeUse]) -> None:
        trees = self.trees()
        for shim, use in uses.items():
            if shim not in trees:
                continue
            for name, most in self._bounds(trees[shim]).items():
                found: int = getattr(use, name)
                if found > most:
                    what = "processes and threads" if name == "tasks" else "bytes of memory"
                    trees[shim].kill_because(
                        f"its tree had {found} {what}, of at most {most} (limits.{name})"
                    )
                    break


def read_trees(shims: Collection[int], proc: Path) -> Mapping[int, TreeUse]:
    """Read what is below each shim; blocks."""
    tasks, memory = dict.fromkeys(shims, 0), dict.fromkeys(shims, 0)
    for shim, pid, threads in members_of_trees(shims, proc):
        tasks[shim] += threads
        memory[shim] += _memory_of(proc / str(pid))
    return {shim: TreeUse(tasks=tasks[shim], memory_bytes=memory[shim]) for shim in shims}


def _memory_of(directory: Path) -> int:
    """Return the share of a process; all of its pages where that must not be read; else 0."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (directory / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((directory / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0

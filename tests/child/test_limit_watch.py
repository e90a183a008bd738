"""Trees with limits of their own, where no cgroup sees to these."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
import trio

from smartmob_agent.child import limit_watch
from smartmob_agent.child.limit_watch import LimitWatch, TreeUse, read_trees
from smartmob_agent.child.limits import limits_of_request
from smartmob_agent.child.seam import ResourceLimits


@attrs.define
class Tree:
    limits: ResourceLimits
    reason: str = ""

    def kill_because(self, reason: str) -> None:
        self.reason = reason


@pytest.mark.parametrize(
    ("limits", "counted", "reason"),
    [
        (ResourceLimits(), (), ""),
        (ResourceLimits(tasks=3, memory_bytes=5000), (), ""),
        (
            ResourceLimits(tasks=2),
            (),
            "its tree had 3 processes and threads, of at most 2 (limits.tasks)",
        ),
        (
            ResourceLimits(memory_bytes=4999),
            (),
            "its tree had 5000 bytes of memory, of at most 4999 (limits.memory_bytes)",
        ),
        (ResourceLimits(tasks=2, memory_bytes=1), ("tasks", "memory_bytes"), ""),
    ],
)
async def test_who_uses_too_much_is_killed(
    monkeypatch: pytest.MonkeyPatch,
    limits: ResourceLimits,
    counted: tuple[str, ...],
    reason: str,
) -> None:
    """And told why; unless a cgroup sees to it."""
    trees = {7: Tree(limits), 8: Tree(ResourceLimits(tasks=100))}
    watch = LimitWatch(trees=lambda: trees, counted=counted)
    gone = TreeUse(tasks=1000, memory_bytes=0)
    looked: list[list[int]] = []
    often = trio.Event()

    def read(shims: list[int], _proc: Path) -> Mapping[int, TreeUse]:
        looked.append(shims)
        if len(looked) == 3:
            trio.from_thread.run_sync(often.set)
        return {7: TreeUse(tasks=3, memory_bytes=5000), 9: gone}

    monkeypatch.setattr(limit_watch, "read_trees", read)
    monkeypatch.setattr(limit_watch, "_INTERVAL", 0.001)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                watch.start(nursery)
            assert len(nursery.child_tasks) == ("tasks" not in counted)
            await trio.lowlevel.checkpoint()
            if nursery.child_tasks:
                await often.wait()
            seen = [tree.reason for tree in trees.values()]
            trees.clear()  # Then nobody watches any more.
    assert seen == [reason, ""]


def test_a_tree_is_read_as_the_kernel_tells_it() -> None:
    """We are below who has started us."""
    [use] = read_trees([os.getppid()], Path("/proc")).values()
    assert use.tasks >= 1
    assert use.memory_bytes > 2**20


def test_pages_count_where_shares_must_not_be_read(tmp_path: Path) -> None:
    for pid, parent in ((5, 1), (6, 5), (7, 6)):
        directory = tmp_path / str(pid)
        directory.mkdir()
        fields = ["S", str(parent), *["0"] * 15, "2"]
        (directory / "stat").write_text(f"{pid} (a) b) {' '.join(fields)}")
    (tmp_path / "6" / "statm").write_text("9 3 0")
    page = os.sysconf("SC_PAGE_SIZE")
    assert read_trees([5], tmp_path) == {5: TreeUse(tasks=4, memory_bytes=3 * page)}


def test_no_child_gets_more_than_may_be_given() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert limits_of_request(ResourceLimits()) == {}
    assert limits_of_request(ResourceLimits(open_files=10, core_bytes=0)) == {
        "RLIMIT_NOFILE": (10, 10),
        "RLIMIT_CORE": (0, 0),
    }
    assert limits_of_request(ResourceLimits(open_files=2**22)) == {"RLIMIT_NOFILE": (hard, hard)}

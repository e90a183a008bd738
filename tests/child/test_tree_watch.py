"""Who counts processes, when, and what comes of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from smartmob_agent.child.tree_watch import TreeWatch

SHIM, OTHER = 10, 20


@attrs.define(eq=False)
class Tree:
    """A tree that may be killed."""

    reasons: list[str] = attrs.field(factory=list)
    killed: trio.Event = attrs.field(factory=trio.Event)

    def kill_because(self, reason: str) -> None:
        self.reasons.append(reason)
        self.killed.set()


@attrs.define(eq=False)
class Machine:
    """A /proc in which trees can grow."""

    proc: Path

    def run(self, pid: int, parent: int, *, threads: int = 1) -> None:
        directory = self.proc / str(pid)
        (directory / "task").mkdir(parents=True)
        for thread in range(threads):
            (directory / "task" / str(pid + thread)).mkdir()
        (directory / "stat").write_text(
            f"{pid} (a b) c) S {parent} {' '.join(['0'] * 15)} {threads} 0 0"
        )

    def load(self, total: int) -> None:
        (self.proc / "loadavg").write_text(f"0.00 0.01 0.05 1/{total} 4711\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Two shims with an app each; one has a child of two threads."""
    machine = Machine(tmp_path)
    machine.load(100)
    machine.run(1, 0)
    for shim in (SHIM, OTHER):
        machine.run(shim, 1)
        machine.run(shim + 1, shim)
    machine.run(SHIM + 2, SHIM + 1, threads=2)
    (tmp_path / "99").mkdir()  # it has just ended
    return machine


def watch(machine: Machine, trees: Mapping[int, Tree], **bounds: int | None) -> TreeWatch:
    bounds = {"most": None, "user_most": None, **bounds}
    return TreeWatch(
        most=bounds["most"], user_most=bounds["user_most"], trees=lambda: trees, proc=machine.proc
    )


def look(watching: TreeWatch, *, now: float = 0.0) -> None:
    """What `run` does once a second, a part of it in a thread."""
    watching._judge(watching._look(tuple(watching.trees()), now), now)


async def test_a_tree_over_its_bound_is_killed_and_no_other(machine: Machine) -> None:
    trees = {SHIM: Tree(), OTHER: Tree()}
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch(machine, trees, most=2).run)
            await trees[SHIM].killed.wait()
            nursery.cancel_scope.cancel()
    told = "its tree had 3 processes and threads, of at most 2 (--max-processes)"
    assert [tree.reasons for tree in trees.values()] == [[told], []]


def test_trees_are_looked_at_again_when_much_is_new(machine: Machine) -> None:
    trees = {SHIM: Tree()}
    watching = watch(machine, trees, most=50)
    look(watching)
    machine.run(30, SHIM + 1, threads=60)
    machine.load(124)
    look(watching, now=1)
    assert trees[SHIM].reasons == []
    machine.load(125)
    look(watching, now=2)
    assert len(trees[SHIM].reasons) == 1


def test_what_has_ended_makes_no_room_for_a_bomb(machine: Machine) -> None:
    trees = {SHIM: Tree()}
    watching = watch(machine, trees, most=50)
    look(watching)
    machine.load(60)
    look(watching, now=1)
    machine.run(30, SHIM + 1, threads=60)
    machine.load(90)
    look(watching, now=2)
    assert len(trees[SHIM].reasons) == 1


def test_trees_are_looked_at_again_after_a_while(machine: Machine) -> None:
    trees = {SHIM: Tree()}
    watching = watch(machine, trees, most=50)
    look(watching)
    machine.run(30, SHIM + 1, threads=60)
    look(watching, now=29)
    assert trees[SHIM].reasons == []
    look(watching, now=30)
    assert len(trees[SHIM].reasons) == 1


def test_who_has_ended_meanwhile_is_not_killed(machine: Machine) -> None:
    trees = {SHIM: Tree()}
    watching = watch(machine, trees, most=2)
    count = watching._look([SHIM], 0.0)
    tree = trees.pop(SHIM)
    watching._judge(count, 0.0)
    assert tree.reasons == []


def test_a_machine_that_tells_no_number_is_looked_at_after_a_while(machine: Machine) -> None:
    (machine.proc / "loadavg").unlink()
    trees = {SHIM: Tree()}
    look(watch(machine, trees, most=2))
    assert len(trees[SHIM].reasons) == 1


@pytest.mark.parametrize(
    ("most", "hint"),
    [
        (
            7,
            (
                "its user runs 7 processes and threads, of at most 7 "
                "(RLIMIT_NPROC; see --max-user-processes)"
            ),
        ),
        (8, ""),
    ],
)
def test_whoever_fails_near_a_limit_of_the_user_can_be_told(
    machine: Machine, most: int, hint: str
) -> None:
    for path in machine.proc.glob("[0-9]*"):
        os.chown(path, os.geteuid(), -1)
    watching = watch(machine, {SHIM: Tree()}, user_most=most)
    assert watching.hint == ""
    look(watching)
    assert watching.hint == hint


async def test_there_is_nothing_to_watch_without_a_bound(machine: Machine) -> None:
    watching = watch(machine, {SHIM: Tree()})
    await watching.run()
    assert watching.hint == ""


async def test_there_is_nothing_to_count_without_trees(
    machine: Machine, autojump_clock: MockClock
) -> None:
    watching = watch(machine, {}, user_most=1)
    with trio.move_on_after(3):
        await watching.run()
    assert watching.hint == ""

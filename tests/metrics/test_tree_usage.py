"""What trees use, on a machine of files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from smartmob_agent.metrics import tree_usage as tree
from smartmob_agent.metrics.proc import Proc
from smartmob_agent.metrics.tree_usage import TreeReader, Usage
from tests.metrics.machine import PAGE, Machine

GUARD, CHILD = 100, 101


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A guard below its zygote, and a child below the guard."""
    machine = Machine(tmp_path / "proc")
    machine.add(99, 1)
    machine.add(GUARD, 99, cpu=50, reaped=0.25, pss_kib=7, fds=7)
    machine.add(CHILD, GUARD, cpu=1, reaped=2, pss_kib=300, pages=90, fds=5)
    return machine


def make_reader(
    machine: Machine, cgroup: Path | None = None, now: Callable[[], float] = float
) -> TreeReader:
    return TreeReader(Proc(str(machine.root)), cgroup, now)


def read(machine: Machine, cgroup: Path | None = None, pid: int = CHILD) -> Usage:
    return make_reader(machine, cgroup).read([pid], lambda: None)[pid]


def test_a_tree_is_all_below_its_guard_but_not_the_guard(machine: Machine) -> None:
    """What the child left behind is the guard's, and so is the time of what has ended."""
    machine.add(102, CHILD, cpu=0.5, pss_kib=20, pages=9, fds=3)
    machine.add(103, GUARD, cpu=0.25, pss_kib=1, pages=2, fds=1)
    machine.add(104, 103, cpu=4, state="Z")
    assert read(machine) == Usage(
        cpu_seconds=0.25 + 1 + 2 + 0.5 + 0.25 + 4,
        memory_bytes=(300 + 20 + 1) * 1024,
        open_fds=5 + 3 + 1,
        processes=3,
    )


def test_children_of_all_threads_are_found(machine: Machine) -> None:
    machine.add(102, CHILD, threads=(102, 105))
    machine.add(106, 102, fds=4)
    machine.add(107, 106)
    assert (read(machine).processes, read(machine).open_fds) == (4, 9)


def test_all_pages_count_where_the_share_must_not_be_read(machine: Machine) -> None:
    machine.add(102, CHILD, pages=10)
    assert read(machine).memory_bytes == 300 * 1024 + 10 * PAGE


def test_a_parent_of_two_children_is_no_guard(machine: Machine) -> None:
    """Of a spawner without guards: what one child uses is not told of both."""
    machine.add(102, GUARD, fds=1)
    usages = make_reader(machine).read([CHILD, 102], lambda: None)
    assert {pid: usage.open_fds for pid, usage in usages.items()} == {CHILD: 5, 102: 1}
    assert usages[CHILD].cpu_seconds == 3


def test_the_agent_is_no_guard(machine: Machine) -> None:
    machine.add(os.getpid(), 99, reaped=100)
    machine.add(102, os.getpid(), fds=1)
    machine.add(103, os.getpid(), fds=1000)
    usage = read(machine, pid=102)
    assert (usage.open_fds, usage.cpu_seconds) == (1, 0)


def test_who_has_ended_is_left_out(machine: Machine) -> None:
    """At once, or between the list and the look."""
    with (machine.root / f"{CHILD}/task/{CHILD}/children").open("a") as file:
        file.write("555")
    usages = make_reader(machine).read([CHILD, 4444], lambda: None)
    assert list(usages) == [CHILD]
    assert usages[CHILD].processes == 1


def test_a_guard_that_ends_meanwhile_leaves_the_child(machine: Machine) -> None:
    (machine.root / f"{GUARD}/stat").unlink()
    assert read(machine) == Usage(cpu_seconds=3, memory_bytes=300 * 1024, open_fds=5, processes=1)


def test_members_are_found_where_the_kernel_lists_no_children(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "proc", lists_children=False)
    machine.add(GUARD, 1, reaped=1)
    machine.add(CHILD, GUARD, fds=1)
    machine.add(102, CHILD, fds=1)
    machine.add(103, GUARD, fds=1)
    assert (read(machine).open_fds, read(machine).cpu_seconds) == (3, 1)


def test_a_share_is_read_again_when_pages_change_or_after_a_while(machine: Machine) -> None:
    clock = Clock()
    reader = make_reader(machine, None, clock)

    def share() -> int:
        return reader.read([CHILD], lambda: None)[CHILD].memory_bytes // 1024

    assert share() == 300
    machine.share(CHILD, 301)
    clock.now += 299
    assert share() == 300
    machine.run(CHILD, GUARD, 1, pages=93)
    assert share() == 310  # as if it had grown with the pages
    machine.run(CHILD, GUARD, 1, pages=95)
    assert share() == 301
    machine.share(CHILD, 302)
    clock.now += 300
    assert share() == 302
    machine.share(CHILD, 303)
    machine.run(CHILD, GUARD, 1, pages=95, start=2)  # another process of that number
    assert share() == 303


def test_few_shares_are_read_again_at_once_and_each_has_its_turn(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile they are estimated by the number of pages."""
    monkeypatch.setattr(tree, "_MOST_READ_AGAIN", 1)
    machine.add(200, 99)
    machine.add(201, 200, pss_kib=300, pages=100)
    reader = make_reader(machine)

    def shares(pages: int) -> list[int]:
        machine.run(CHILD, GUARD, 1, pages=pages)
        machine.run(201, 200, 1, pages=pages)
        usages = reader.read([CHILD, 201], lambda: None)
        return sorted(usage.memory_bytes // 1024 for usage in usages.values())

    assert shares(100) == [300, 300]
    machine.share(CHILD, 1)
    machine.share(201, 2)
    assert shares(200) in ([1, 600], [2, 600])
    assert shares(400)[1] < 600, "the other one, though both have changed"


def test_what_had_no_pages_has_as_many_as_now(machine: Machine) -> None:
    machine.add(102, CHILD, pss_kib=0)
    reader = make_reader(machine)
    reader.read([CHILD], lambda: None)
    machine.run(102, CHILD, 0, pages=0)
    assert reader.read([CHILD], lambda: None)[CHILD].memory_bytes == 300 * 1024


def test_what_has_ended_is_forgotten(machine: Machine) -> None:
    reader = make_reader(machine)
    reader.read([CHILD], lambda: None)
    reader.read([], lambda: None)
    machine.share(CHILD, 1)
    assert reader.read([CHILD], lambda: None)[CHILD].memory_bytes == 1024


def test_a_cgroup_knows_better(machine: Machine, tmp_path: Path) -> None:
    """Its time has that of all members that have ended, however."""
    group = make_cgroup(machine, tmp_path)
    (group / "cpu.stat").write_text("usage_usec 7500000\nuser_usec 1\n")
    (group / "memory.current").write_text("12345\n")
    usage = read(machine, group.parent)
    assert usage == Usage(cpu_seconds=7.5, memory_bytes=12345, open_fds=5, processes=1)


def test_a_cgroup_without_controllers_leaves_it_to_the_members(
    machine: Machine, tmp_path: Path
) -> None:
    group = make_cgroup(machine, tmp_path)
    assert read(machine, group.parent) == read(machine)
    (group / "cpu.stat").write_text("another kernel")
    assert read(machine, group.parent) == read(machine)


@pytest.mark.parametrize("text", ["0::/elsewhere\n", "1:cpu:/\n", None])
def test_who_is_in_no_cgroup_of_ours_is_read_as_others(
    machine: Machine, tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (machine.root / f"{CHILD}/cgroup").write_text(text)
    assert read(machine, tmp_path) == read(machine)


def test_a_fork_bomb_is_not_read_to_its_end(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_MOST_MEMBERS", 3)
    for pid in range(102, 110):
        machine.add(pid, pid - 1)
    assert read(machine).processes == 3


def test_who_asks_may_stop_it_before_each_tree(machine: Machine) -> None:
    machine.add(200, 99)
    machine.add(201, 200)
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_reader(machine).read([CHILD, 201], check)


def make_cgroup(machine: Machine, tmp_path: Path) -> Path:
    """Make the cgroup of the child, which is in one of its own below it."""
    name = f"app-{os.getpid()}-7"
    (machine.root / f"{CHILD}/cgroup").write_text(f"1:cpu:/\n0::/agent/{name}/inner\n")
    group = tmp_path / "delegated" / name
    group.mkdir(parents=True)
    return group

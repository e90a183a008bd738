"""The look at the process tree, on trees made by hand."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from smartmob_agent.child import kernel
from smartmob_agent.child.kernel import children, look, signal_below, walk

TREE = """
import os, signal, sys
print(os.getpid(), flush=True)
for _ in range(2):
    if not os.fork():
        print(os.getpid(), flush=True)
        signal.pause()
signal.pause()
"""


@pytest.fixture
def tree() -> Iterator[list[int]]:
    """A child of ours and two of its own."""
    argv = [sys.executable, "-ISE", "-c", TREE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        yield [int(process.stdout.readline()) for _ in range(3)]
        os.killpg(process.pid, signal.SIGKILL)


def state(pid: int) -> str:
    process = look(pid)
    return process.state if process else ""


def test_look_tells_parent_group_and_start(tree: list[int]) -> None:
    process = look(tree[1])
    assert process is not None
    assert (process.pid, process.parent, process.group) == (tree[1], tree[0], tree[0])
    assert process.start > 0
    assert process.is_alive


def test_look_finds_nobody_where_nobody_is() -> None:
    assert look(2**22 + 1) is None


def test_children_are_listed_by_the_kernel_or_found(
    tree: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted(children(tree[0])) == sorted(tree[1:])
    monkeypatch.setattr(kernel, "_LISTS_CHILDREN", False)
    assert sorted(children(tree[0])) == sorted(tree[1:])


def test_a_process_that_is_gone_has_no_children() -> None:
    assert children(2**22 + 1) == []


def test_walk_finds_descendants_but_for_the_spared(tree: list[int]) -> None:
    assert {process.pid for process in walk()} >= set(tree)
    assert not {process.pid for process in walk(spared={tree[0]})} & set(tree)


def test_signals_reach_children_and_those_below_them(tree: list[int]) -> None:
    pidfds = [os.pidfd_open(pid) for pid in tree]
    assert signal_below(signal.SIGKILL) >= set(tree)
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], 10) == ([pidfd], [], [])
        os.close(pidfd)


def test_a_process_that_moved_away_is_left_alone(tree: list[int]) -> None:
    child, parent, stranger = look(tree[1]), look(tree[0]), look(os.getppid())
    assert child
    assert parent
    assert stranger
    kernel._signal_deep(child, parent._replace(start=parent.start + 1), signal.SIGKILL)
    kernel._signal_deep(child, stranger, signal.SIGKILL)
    kernel._signal_deep(child._replace(pid=2**22 + 1), parent, signal.SIGKILL)
    assert state(child.pid) == "S"
    pidfd = os.pidfd_open(child.pid)
    kernel._signal_deep(child, parent, signal.SIGKILL)
    assert select.select([pidfd], [], [], 10) == ([pidfd], [], [])
    os.close(pidfd)

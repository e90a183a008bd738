"""The look at the process tree, on trees made by hand."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartmob_agent.child.guard import kernel
from smartmob_agent.child.guard.kernel import (
    are_many,
    children,
    handles,
    kill_below,
    look,
    resume,
    runs,
    signal_member,
    stop_below,
    walk,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

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


def test_look_tells_parent_group_and_start(tree: list[int]) -> None:
    process = look(tree[1])
    assert process is not None
    assert (process.pid, process.parent, process.group) == (tree[1], tree[0], tree[0])
    assert process.start > 0
    assert process.is_alive


def test_a_process_tells_its_program_and_its_handlers(tree: list[int]) -> None:
    """Nobody has neither."""
    assert runs(tree[0], sys.executable)
    assert not runs(tree[0], "/bin/sh")
    assert handles(tree[0], signal.SIGINT)
    assert not handles(tree[0], signal.SIGHUP)
    nobody = 2**22 + 1
    assert not runs(nobody, sys.executable)
    assert not handles(nobody, signal.SIGINT)


def test_a_signal_for_a_member_reaches_no_other_process(tree: list[int]) -> None:
    """Its number may be that of another process by now."""
    signal_member(tree[1], tree[0] + 1, signal.SIGKILL)
    signal_member(2**22 + 1, tree[0], signal.SIGKILL)
    signal_member(tree[2], tree[0], signal.SIGKILL)
    pidfd = os.pidfd_open(tree[2])
    assert select.select([pidfd], [], [], 20)[0]
    os.close(pidfd)
    process = look(tree[1])
    assert process is not None
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


def test_many_are_told_from_few(tree: list[int]) -> None:
    count = len({process.pid for process in walk()})
    assert are_many(count - 1)
    assert not are_many(count)
    assert set(tree) <= {process.pid for process in walk()}


def wait_ends(pids: list[int]) -> None:
    """Wait until these have ended, though nobody may have reaped them."""
    for pidfd in [os.pidfd_open(pid) for pid in pids]:
        assert select.select([pidfd], [], [], 10) == ([pidfd], [], [])
        os.close(pidfd)


def test_kill_reaches_children_and_those_below_them(tree: list[int]) -> None:
    assert kill_below() >= set(tree)
    wait_ends(tree)


def test_kill_reaches_what_has_threads(tree: list[int]) -> None:
    script = "import threading, subprocess as s; e = threading.Event();"
    script += "threading.Thread(target=e.wait).start();"
    script += "print(s.Popen(['sleep', '1000']).pid, flush=True)"
    argv = [sys.executable, "-ISE", "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        below = int(process.stdout.readline())
        assert children(process.pid) == [below]
        assert kill_below() >= {process.pid, below}


def test_kill_spares_whom_it_shall(tree: list[int]) -> None:
    assert not kill_below(spared={tree[0]}) & set(tree)


def test_a_process_that_moved_away_is_left_alone(tree: list[int]) -> None:
    assert not kernel._kill_deep(tree[1], os.getppid())
    assert not kernel._kill_deep(2**22 + 1, tree[0])
    assert kernel._kill_deep(tree[1], tree[0])
    wait_ends([tree[1]])


def test_the_stopped_can_be_resumed_or_killed(tree: list[int]) -> None:
    assert stop_below() >= set(tree)
    assert os.waitpid(tree[0], os.WUNTRACED)[1] & 0xFF == 0x7F
    assert stop_below(spared={tree[0]}) & set(tree) == set()
    resume(tree)
    kill_below()
    wait_ends(tree)


def test_what_is_gone_before_it_could_be_stopped_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel, "children", lambda _: [2**22 + 1])
    assert stop_below() == set()


def test_a_long_list_of_children_is_read_to_its_end(tmp_path: Path) -> None:
    numbers = list(range(20_000))
    path = tmp_path / "children"
    path.write_text(" ".join(map(str, numbers)))
    assert kernel._read_numbers(str(path)) == numbers

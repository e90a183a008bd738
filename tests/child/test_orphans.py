"""Reaping what others have left to us."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from smartmob_agent.child.guard.kernel import children
from smartmob_agent.child.orphans import reap_orphans
from smartmob_agent.child.seam import Command, Exit
from smartmob_agent.child.spawner import open_spawner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def spawn_and_forget() -> int:
    return os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], {})


async def test_foreign_children_are_reaped_and_own_ones_are_not() -> None:
    own = subprocess.Popen(["/bin/sh", "-c", "exit 7"])  # noqa: ASYNC220  it does not block
    foreign = spawn_and_forget()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reap_orphans, lambda: {own.pid})
            for pid in (own.pid, foreign):
                await wait_end(pid)
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
    assert foreign not in children(os.getpid())
    assert own.wait() == 7


async def wait_end(pid: int) -> None:
    """Wait until a child has ended; reaped it need not be."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    await trio.lowlevel.wait_readable(pidfd)
    os.close(pidfd)


async def test_the_spawner_does_it_as_first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smartmob_agent.child.spawner.os.getpid", lambda: 1)
    with trio.fail_after(10):
        async with open_spawner() as spawner:
            command = Command(argv=("/bin/sh", "-c", "exit 7"), env={}, cwd=Path("/"))
            child = await spawner.spawn(command)
            assert await child.wait() == Exit(code=7)
            child.close_pipes()

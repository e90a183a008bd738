"""The agent's ends of what it shares with a child."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from smartmob_agent.child.pipes import ChildPipes


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """It ends when its input does."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process


@pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd_open(2)")
@pytest.mark.parametrize("lives", [True, False])
async def test_a_shim_is_killed_only_while_its_number_is_its_own(
    process: subprocess.Popen[bytes], *, lives: bool
) -> None:
    """It is, as long as somebody holds the other end: that is the shim alone."""
    ends = ChildPipes()
    if not lives:
        os.close(ends.theirs.pop(0))
    ends.kill_shim(process.pid)
    for fd in ends.theirs:
        os.close(fd)
    ends.close()
    assert process.stdin
    process.stdin.close()
    assert process.wait() == (-9 if lives else 0)

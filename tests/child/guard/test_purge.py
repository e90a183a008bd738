"""Rounds of a purge that takes a stranger for one of its own; tests/e2e has the storms."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from smartmob_agent.child.guard.kernel import look

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

PURGE = """
import os, signal, sys
from smartmob_agent.child.guard import purge

stranger, rounds = map(int, sys.argv[1:])
stop_below = purge.stop_below
mistakes = [stranger]

def stop_by_mistake(spared):
    found = stop_below(spared)
    if mistakes:
        os.kill(mistakes[0], signal.SIGSTOP)
        found.add(mistakes.pop())
    return found

purge.stop_below = stop_by_mistake
child = os.fork()
if not child:
    signal.pause()
it = purge.Purge()
for _ in range(rounds):
    it.round()
if rounds == 1:  # the child ends before there is another one
    os.kill(child, signal.SIGKILL)
    it.finish()
"""


@pytest.fixture
def stranger() -> Iterator[int]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


@pytest.mark.parametrize("rounds", [1, 2])
def test_who_was_stopped_by_mistake_goes_on(stranger: int, rounds: int) -> None:
    """A number may be used again before it is signalled; in the first round, or the only one."""
    argv = [sys.executable, "-c", PURGE, str(stranger), str(rounds)]
    subprocess.run(argv, check=True)
    process = look(stranger)
    assert process
    assert process.state != "T"

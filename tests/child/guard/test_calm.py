"""A moment of calm; tests/e2e has the storms."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from smartmob_agent.child.guard.calm import Calm
from smartmob_agent.child.guard.kernel import look

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def test_few_are_not_held() -> None:
    """What an ordinary app has started never notices."""
    calm = Calm()
    with subprocess.Popen(["sleep", "1000"]) as process:
        assert not calm.begin()
        found = look(process.pid)
        process.kill()
    assert found
    assert found.state != "T"
    assert [calm.limit(patience) for patience in (None, 5.0)] == [None, 5.0]


def test_who_is_held_goes_on_also_when_the_moment_is_cut_short() -> None:
    """A kill may come; then who was held and is no app, by mistake, is not left so."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        calm = Calm()
        calm._held = {process.pid}
        calm.end()
        os.waitid(os.P_PID, process.pid, os.WCONTINUED)
        process.kill()
    assert calm.limit(None) is None

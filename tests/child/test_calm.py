"""A moment of calm; tests/e2e has the storms."""

from __future__ import annotations

import subprocess
import sys

import pytest

from smartmob_agent.child.calm import Calm
from smartmob_agent.child.kernel import look

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

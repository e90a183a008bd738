"""An app on its way; tests/child/test_spawner.py and tests/e2e have what becomes of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs parent-death signals")

LATE = """
import os, select, signal
from smartmob_agent.child.guard import app as module

die_with_parent = module.die_with_parent

def ask_late():
    select.select([shim], [], [])  # Not its descriptors: they are closed before it is dead.
    die_with_parent()

module.die_with_parent = ask_late
if pid := os.fork():
    os.waitpid(pid, 0)
else:
    shim = os.pidfd_open(os.getpid())
    app = module.App(isolated=False)
    app.prepare(but=())
    request = {"argv": ["/bin/echo", "ran"], "env": {}, "cwd": "/"}
    request |= {"limits": {}, "isolation": None, "cgroup": None}
    app.start(request, [os.dup(1), os.dup(2)], but=())
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_app_whose_shim_dies_as_it_forks_does_not_run() -> None:
    """It has its request, but asks to die with its parent when that is dead already."""
    run = subprocess.run([sys.executable, "-c", LATE], check=True, capture_output=True)
    assert run.stdout == b""  # complete: whoever holds the pipe has ended

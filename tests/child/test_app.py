"""An app on its way; tests/child/test_guarded.py and tests/e2e have what becomes of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs parent-death signals")

LATE = """
import os, signal, sys
from smartmob_agent.child import app as module

ready, held = os.pipe()
die_with_parent = module.die_with_parent

def ask_late():
    os.close(held)
    os.read(ready, 1)
    die_with_parent()

module.die_with_parent = ask_late
shim = os.fork()
if not shim:
    app = module.App(isolated=False)
    app.prepare(but=())
    request = {"argv": ["/bin/echo", "ran"], "env": {}, "cwd": "/"}
    request |= {"limits": {}, "isolation": None, "cgroup": None}
    app.start(request, [os.dup(1), os.dup(2)], but=())
    os.kill(os.getpid(), signal.SIGKILL)
os.close(held)
os.waitpid(shim, 0)
"""


def test_an_app_whose_shim_dies_as_it_forks_does_not_run() -> None:
    """It has its request, but asks to die with its parent when that is dead already."""
    run = subprocess.run([sys.executable, "-c", LATE], check=True, capture_output=True)
    assert run.stdout == b""  # complete: whoever holds the pipe has ended

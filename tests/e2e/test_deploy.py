"""The files under deploy/."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
@pytest.mark.slow
def test_systemd_accepts_the_unit() -> None:
    argv = ["systemd-analyze", "verify", str(DEPLOY / "smartmob-agent.service")]
    process = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")

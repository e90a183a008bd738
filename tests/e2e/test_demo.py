"""`make demo`, and what the README says that it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import trio

ROOT = Path(__file__).parents[2]
LIMIT = 90.0
"""Seconds for the demo, which has a limit of its own below this."""
CHANGING = {
    r"127\.0\.0\.1:\d+": "ADDRESS",
    r"(worker|Killing) \d+": r"\1 PID",
    r'"pid": \d+': '"pid": PID',
    r'"port": \d+': '"port": PORT',
    r"tick \d+": "tick NUMBER",
}


def without_changing(text: str) -> str:
    """Put names in the place of what is another one each time."""
    for pattern, name in CHANGING.items():
        text = re.sub(pattern, name, text)
    return text


def pattern_of_the_readme() -> str:
    """The console blocks of the README as one regular expression; `...` is any lines."""
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"^\.\. code-block:: console\n\n((?:    .*\n|\n)+)", readme, re.MULTILINE)
    text = without_changing(re.sub(r"^    ", "", "...\n".join(blocks), flags=re.MULTILINE))
    lines = [line for line in text.split("\n") if line and not line.startswith("$ ")]
    return "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in lines)


async def run_demo(tmp_path: Path, **changes: str) -> subprocess.CompletedProcess[bytes]:
    env: Mapping[str, str] = {**os.environ, "TMPDIR": str(tmp_path), **changes}
    command = [sys.executable, "-u", str(ROOT / "examples" / "demo.py")]
    run = partial(trio.run_process, command, env=env, check=False)
    with trio.fail_after(LIMIT):
        return await run(capture_stdout=True, capture_stderr=True)


@pytest.mark.slow
async def test_the_demo_prints_what_the_readme_says(tmp_path: Path) -> None:
    demo = await run_demo(tmp_path)
    assert (demo.returncode, demo.stderr) == (0, b"")
    lines = [line for line in without_changing(demo.stdout.decode()).split("\n") if line]
    assert re.fullmatch(pattern_of_the_readme(), "\n".join([*lines, ""]))
    assert list(await trio.Path(tmp_path).iterdir()) == []


@pytest.mark.slow
async def test_the_demo_fails_when_the_agent_does_not_start(tmp_path: Path) -> None:
    """One line says what was wrong, after the agent's own log."""
    demo = await run_demo(tmp_path, SMARTMOB_LOG_LEVEL="loud")
    assert demo.returncode == 1
    assert demo.stderr.decode().splitlines()[-1] == "mismatch: the agent ended before it served"
    assert b"environment variable SMARTMOB_LOG_LEVEL: expected " in demo.stderr

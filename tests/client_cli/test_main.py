"""The command as a program: before there is much of it, and when nobody takes what it writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

pytestmark = pytest.mark.measures_children

PRESS_CTRL_C = """
import os, signal, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Watch())
from smartmob_agent.client_cli.__main__ import main
sys.exit(main())
"""


def run(program: Sequence[str], *argv: str) -> tuple[int, str]:
    """Return the exit code and what was said on stderr."""
    result = subprocess.run(
        [*program, *argv],
        env={**os.environ, "SMARTMOB_CONFIG": "/nowhere", "SMARTMOB_AGENT": "unix:/nowhere"},
        capture_output=True,
        check=False,
        text=True,
    )
    return result.returncode, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--help >/dev/full", 1, "smartmob: cannot write: No space left on device\n"),
        ("--help >&-", 1, "smartmob: cannot write: Bad file descriptor\n"),
        ("open -a http://a >/dev/full", 1, "smartmob: cannot write: No space left on device\n"),
        ("open -a http://a >&-", 1, "smartmob: cannot write: Bad file descriptor\n"),
        ("open -a http://a <&- 2>&-", 0, ""),
        ("ps >&- 2>&-", 3, ""),
        ("ps 2>/dev/full", 3, ""),
        ("ps --nothing 2>/dev/full", 2, ""),
    ],
)
def test_what_takes_no_output_is_told_where_that_can_be_done(
    words: str, code: int, said: str
) -> None:
    command = f"exec {sys.executable} -m smartmob_agent.client_cli {words}"
    assert run(["sh", "-c", command]) == (code, said)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "click",
        "smartmob_agent.client_cli.settings",
        "trio",
        "smartmob_agent.client",
        "smartmob_agent.client_cli.runner",
    ],
)
def test_ctrl_c_while_the_command_is_loaded_is_no_traceback(module: str) -> None:
    """Nor a good end: nothing has begun."""
    program = [sys.executable, "-c", PRESS_CTRL_C.format(module=module)]
    assert run(program, "logs", "-f", "x") == (130, "")

"""What is answered before there is an agent; the rest of it runs in tests/e2e."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIST_LOADED = """
import sys
from smartmob_agent.agent_cli.start import main
try:
    main()
finally:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--version", 0), ("--port=x", 2)])
def test_what_needs_no_agent_loads_none(argument: str, code: int) -> None:
    """To load it takes most of a second."""
    result = subprocess.run(
        [sys.executable, "-c", LIST_LOADED, argument], capture_output=True, check=False, text=True
    )
    assert result.returncode == code
    loaded = set(result.stderr.splitlines())
    assert "smartmob_agent.agent_cli.options" in loaded
    assert loaded & {"trio", "quart", "hypercorn", "httpcore", "smartmob_agent.agent"} == set()

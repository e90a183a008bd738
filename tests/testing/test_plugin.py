"""The fixtures for pytest, and that only a project which asks for them has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_exports import modules_after
from tests.test_layers import imports_of, modules

pytestmark = pytest.mark.measures_children

ASK = 'pytest_plugins = ["smartmob_agent.testing.plugin"]\n'

TEST = """
async def test_it(agent, fake_spawner, fake_fetcher, fake_workspaces, autojump_clock):
    assert agent.url.startswith("http://127.0.0.1:")
    assert list(agent.supervisor) == fake_spawner.children == fake_workspaces.opened == []
    assert fake_fetcher.requests == []
"""


def run_project(directory: Path, conftest: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project of its own, with the plugins that a user's pytest would load."""
    (directory / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    (directory / "conftest.py").write_text(conftest)
    (directory / "test_it.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        command, cwd=directory, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_project_that_asks_for_the_fixtures_gets_them(tmp_path: Path) -> None:
    """One line in its `conftest.py`."""
    result = run_project(tmp_path, ASK)
    assert "1 passed" in result.stdout, result.stdout


@pytest.mark.slow
def test_a_project_that_does_not_ask_has_no_fixture_of_ours(tmp_path: Path) -> None:
    """`agent` is a name that others use."""
    result = run_project(tmp_path, "")
    assert "fixture 'agent' not found" in result.stdout, result.stdout


def test_only_the_plugin_imports_pytest() -> None:
    """An agent needs no test runner, and the fakes serve other test runners as well."""
    importers = {
        name
        for name, path in modules().items()
        if {imported.partition(".")[0] for imported in imports_of(path)} & {"pytest", "_pytest"}
    }
    assert importers == {"testing.plugin"}
    assert modules_after("from smartmob_agent import *") & {"pytest", "_pytest"} == set()
    loaded = modules_after("from smartmob_agent.testing import *")  # trio.testing uses pytest
    assert "smartmob_agent.testing.plugin" not in loaded

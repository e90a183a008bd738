"""Subcommands are found by their files, and listed without an import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from smartmob_agent.client_cli import commands
from smartmob_agent.client_cli.cli import cli

pytestmark = pytest.mark.measures_children

NAMES = sorted(path.stem for path in Path(commands.__path__[0]).glob("[!_]*.py"))
LIST_LOADED = """
import sys
from smartmob_agent.client_cli.__main__ import main
code = main()
print(*sys.modules, sep="\\n", file=sys.stderr)
sys.exit(code)
"""


def loaded_by(*argv: str) -> set[str]:
    """Return the modules that a command line has imported."""
    result = subprocess.run(
        [sys.executable, "-c", LIST_LOADED, *argv], capture_output=True, check=True, text=True
    )
    return set(result.stderr.splitlines())


def test_each_module_is_a_subcommand() -> None:
    with cli.make_context("smartmob", ["ps"]) as context:
        assert cli.list_commands(context) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_short_help_is_that_of_the_subcommand(name: str) -> None:
    """Though it is read without an import."""
    with cli.make_context("smartmob", [name]) as context:
        listed = cli.get_command(context, name)
        _, called, _ = cli.resolve_command(context, [name])
    assert listed is not None
    assert called is not None
    assert called is not listed
    assert listed.get_short_help_str(80) == called.get_short_help_str(80) != ""


@pytest.mark.slow
def test_help_imports_no_subcommand() -> None:
    loaded = loaded_by("--help")
    assert not [name for name in loaded if name.startswith(f"{commands.__name__}.")]
    assert not loaded & {"trio", "httpx", "smartmob_agent.client", "rich", "dotenv"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_subcommand_comes_at_once(name: str) -> None:
    """Without trio and the client, which take most of the time of a command."""
    loaded = loaded_by(name, "--help")
    assert f"{commands.__name__}.{name}" in loaded
    assert not loaded & {"trio", "httpx", "smartmob_agent.client", "rich", "dotenv"}


def test_an_unknown_subcommand_is_an_error() -> None:
    with (
        cli.make_context("smartmob", ["nothing"]) as context,
        pytest.raises(click.UsageError, match="No such command 'nothing'"),
    ):
        cli.invoke(context)

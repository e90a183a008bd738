"""What is public, is there and is documented; nothing else is public by accident."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import smartmob_agent
from smartmob_agent import client, testing


@pytest.mark.parametrize("module", [smartmob_agent, client, testing])
def test_public_names_exist(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]  # a module of ours
    assert len(set(names)) == len(names)
    assert all(hasattr(module, name) for name in names)


@pytest.mark.parametrize("module", [smartmob_agent, client, testing])
def test_public_names_are_documented(module: object) -> None:
    bare = [
        name
        for name in module.__all__  # type: ignore[attr-defined]  # a module of ours
        if not inspect.getdoc(getattr(module, name))
    ]
    assert bare == []


def modules_after(statement: str) -> set[str]:
    """Which modules a new Python has loaded after a statement."""
    program = f"{statement}\nimport sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_the_package_does_not_load_what_only_tests_need() -> None:
    """`trio.testing` and our fakes are for tests; an agent should not carry them."""
    loaded = modules_after("from smartmob_agent import *")
    unwanted = {
        "smartmob_agent.testing",
        "trio.testing",
        "smartmob_agent.agent_cli.start",
        "structlog",
    }
    assert loaded & unwanted == set()
    assert "smartmob_agent.agent" in loaded


def test_the_package_loads_nothing_before_it_is_asked_for() -> None:
    """So that what needs little of it, such as a client, starts fast."""
    loaded = modules_after("import smartmob_agent")
    assert {name for name in loaded if name.startswith("smartmob_agent.")} == set()
    assert loaded & {"trio", "attrs", "httpx", "quart"} == set()


def test_a_client_loads_no_server() -> None:
    loaded = modules_after("from smartmob_agent.client import *")
    ours = {name for name in loaded if name.startswith("smartmob_agent.")}
    assert {name.split(".")[1] for name in ours} == {"client"}
    assert loaded & {"quart", "hypercorn", "structlog", "trio_websocket"} == set()


def test_type_checkers_see_what_is_there() -> None:
    """They read the same stub as the package does, in which each name stands once."""
    stub = Path(smartmob_agent.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    seen = [
        (alias.asname, node.module)
        for node in ast.parse(stub).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert dict(seen) == smartmob_agent._HOMES
    assert sorted(name or "" for name, _ in seen) == smartmob_agent.__all__


def test_a_name_that_is_not_there_is_an_error_of_python() -> None:
    with pytest.raises(AttributeError, match="'smartmob_agent' has no attribute 'nothing'"):
        _ = smartmob_agent.nothing  # type: ignore[attr-defined]  # that is the point


def test_all_public_names_are_listed() -> None:
    assert set(smartmob_agent.__all__) <= set(dir(smartmob_agent))

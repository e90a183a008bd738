"""What is public, is there and is documented; nothing else is public by accident."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import smartmob_agent
from smartmob_agent import testing


@pytest.mark.parametrize("module", [smartmob_agent, testing])
def test_public_names_exist(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]  # a module of ours
    assert len(set(names)) == len(names)
    assert all(hasattr(module, name) for name in names)


@pytest.mark.parametrize("module", [smartmob_agent, testing])
def test_public_names_are_documented(module: object) -> None:
    bare = [
        name
        for name in module.__all__  # type: ignore[attr-defined]  # a module of ours
        if not inspect.getdoc(getattr(module, name))
    ]
    assert bare == []


def test_the_package_does_not_load_what_only_tests_need() -> None:
    """`trio.testing` and our fakes are for tests; an agent should not carry them."""
    program = (
        "import sys, smartmob_agent; "
        "print([m for m in ('smartmob_agent.testing', 'trio.testing', 'smartmob_agent.cli', "
        "'structlog') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"

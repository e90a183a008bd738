"""The ways to break the code are still ways to break this code, and their tests are there."""

from __future__ import annotations

import ast
import subprocess

import pytest

from tests.determinism import test_checkpoints
from tests.mutations import CHECKPOINTS, MUTATIONS, ROOT, Mutation, UnusableTestError, judge, main

EACH = pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)


def test_each_mutation_has_a_name() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 25


@EACH
def test_what_a_mutation_changes_is_there_and_what_it_leaves_is_python(mutation: Mutation) -> None:
    """Else each test would catch it, for no reason of its own."""
    text = mutation.find(ROOT / "smartmob_agent").read_text(encoding="utf-8")
    assert ast.parse(text.replace(mutation.old, mutation.new)).body


@EACH
def test_what_is_to_catch_a_mutation_is_there(mutation: Mutation) -> None:
    """A scenario, a module of tests, or one test of it."""
    if mutation.scenario:
        assert (mutation.scenario in test_checkpoints.SCENARIOS, mutation.test) == (True, "")
        return
    path, _, name = mutation.test.partition("[")[0].partition("::")
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {one.name for one in body if isinstance(one, functions)}
    assert name in found or (not name and any(one.startswith("test_") for one in found))


def test_scenarios_are_tried_by_a_test_that_is_there() -> None:
    function = test_checkpoints.test_a_cancellation_leaves_nothing_wherever_it_comes
    assert CHECKPOINTS.endswith(f"test_checkpoints.py::{function.__name__}")


def result(code: int, stdout: str = "", stderr: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, stdout, stderr)


def test_what_fails_or_hangs_has_caught_a_mutation() -> None:
    failed = result(1, "…\nFAILED tests/test_a.py::test_b[c d] - assert 1 == 2\n")
    hung = result(1, "…\ntests/test_a.py::test_b ", "Timeout (0:00:15)!\nThread …")
    fell = result(-11, hung.stdout, hung.stderr)
    caught = [judge(one) for one in (result(0, "1 passed"), failed, hung, fell)]
    hangs = "tests/test_a.py::test_b (hangs)"
    assert caught == [None, "tests/test_a.py::test_b[c d]", hangs, hangs]


@pytest.mark.parametrize(
    "unusable",
    [
        result(1, "ERROR tests/test_a.py::test_b - ValueError"),
        result(1, "", "No module named pytest"),
        result(2, "ERROR tests/test_a.py - ImportError"),
        result(3, "INTERNALERROR"),
        result(4, "", "ERROR: not found: tests/test_a.py::test_b"),
        result(5, "no tests ran"),
        result(-11),
    ],
    ids=lambda one: str(one.returncode),
)
def test_what_cannot_be_run_has_caught_nothing(unusable: subprocess.CompletedProcess[str]) -> None:
    with pytest.raises(UnusableTestError, match=f"exit code {unusable.returncode}:"):
        judge(unusable)


def test_a_name_that_is_not_there_is_an_error() -> None:
    """Else all tests ran, and broken was nothing."""
    with pytest.raises(SystemExit, match="found \\['a slot'\\]"):
        main(["a slot"])

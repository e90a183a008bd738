"""The ways to break the code are still ways to break this code."""

from __future__ import annotations

import ast

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation


def test_each_mutation_has_a_name() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 25


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_a_mutation_changes_is_there_and_what_it_leaves_is_python(mutation: Mutation) -> None:
    """Else each test would catch it, for no reason of its own."""
    text = mutation.find(ROOT / "smartmob_agent").read_text(encoding="utf-8")
    assert ast.parse(text.replace(mutation.old, mutation.new)).body

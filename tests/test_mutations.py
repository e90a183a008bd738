"""The ways to break the code are still ways to break this code."""

from __future__ import annotations

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation


def test_each_mutation_has_a_name() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 25


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_a_mutation_changes_is_there(mutation: Mutation) -> None:
    assert mutation.find(ROOT / "smartmob_agent").is_file()

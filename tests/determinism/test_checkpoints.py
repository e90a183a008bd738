"""Every cancellation, at every checkpoint: nothing is left, and time is exact."""

from __future__ import annotations

import pytest

from smartmob_agent.testing import cancel_at_every_checkpoint
from tests.determinism.clients import CLIENTS
from tests.determinism.lives import LIVES

SCENARIOS = {**LIVES, **CLIENTS}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_cancellation_leaves_nothing_wherever_it_comes(name: str) -> None:
    assert cancel_at_every_checkpoint(SCENARIOS[name]) > 5

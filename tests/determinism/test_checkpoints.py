"""Every cancellation, at every checkpoint: nothing is left, and time is exact."""

from __future__ import annotations

import logging

import pytest

from smartmob_agent.testing import cancel_at_every_checkpoint
from tests.determinism.archives import ARCHIVES
from tests.determinism.clients import CLIENTS
from tests.determinism.controls import CONTROLS
from tests.determinism.lives import LIVES
from tests.determinism.starts import STARTS
from tests.determinism.turns import TURNS

SCENARIOS = {**LIVES, **ARCHIVES, **CLIENTS, **CONTROLS, **STARTS, **TURNS}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_cancellation_leaves_nothing_wherever_it_comes(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And is no defect for anybody, which the log would tell."""
    assert cancel_at_every_checkpoint(SCENARIOS[name]) > 5
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []

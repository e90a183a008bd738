"""The same scenarios in many orders of their tasks, half of them cancelled somewhere.

A failure has a note with its seed; `SMARTMOB_SCHEDULES` says how many orders to try of each
scenario, and `SMARTMOB_FIRST_SEED` where to begin.
"""

from __future__ import annotations

import logging

import pytest

from smartmob_agent.testing import explore_schedules
from tests.determinism.lives import FAILURES
from tests.determinism.orders import FIRST_SEED, SCHEDULES
from tests.determinism.test_checkpoints import SCENARIOS

# The failures differ in their names and in nothing else: one stands for all.
NAMES = set(SCENARIOS) - set(map(str, FAILURES)) | {"no procfile"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_order_of_tasks_does_not_matter(name: str, caplog: pytest.LogCaptureFixture) -> None:
    different = explore_schedules(SCENARIOS[name], orders=SCHEDULES, first_seed=FIRST_SEED)
    assert different > 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []

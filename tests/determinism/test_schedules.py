"""The same scenarios in many orders of their tasks, half of them (odd seeds) cancelled somewhere.

A failure has a note with its seed; `SMARTMOB_SCHEDULES` says how many orders to try of each
scenario, and `SMARTMOB_FIRST_SEED` where to begin.
"""

from __future__ import annotations

import pytest

from smartmob_agent.testing import explore_schedules, run_trial
from tests.determinism.process_scenarios import FAILURES
from tests.determinism.schedule_range import FIRST_SEED, SCHEDULES
from tests.determinism.test_checkpoints import SCENARIOS

# The failures differ in their names and in nothing else: one stands for all.
NAMES = set(SCENARIOS) - set(map(str, FAILURES)) | {"no procfile"}
SHORT = {"port in use", "second socket", "queue"}
"""Scenarios of two or three tasks that meet once or twice: there are not many orders of these."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_order_of_tasks_does_not_matter(name: str) -> None:
    different = explore_schedules(SCENARIOS[name], orders=SCHEDULES, first_seed=FIRST_SEED)
    assert different > (min(SCHEDULES // 4, 12) if name in SHORT else SCHEDULES // 2)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_seed_decides_all_of_a_scenario(name: str) -> None:
    """Else a failure could not be seen again, and orders that are the same would count as two."""
    first, second = (run_trial(SCENARIOS[name], seed=FIRST_SEED) for _ in range(2))
    assert first.steps == second.steps

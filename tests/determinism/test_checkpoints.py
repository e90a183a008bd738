"""Every cancellation, at every checkpoint: nothing is left, and time is exact."""

from __future__ import annotations

import logging

import pytest
import trio

from smartmob_agent.testing import Trial, cancel_at_every_checkpoint, run_trial
from tests.determinism.agent_start_scenarios import STARTS
from tests.determinism.app_scenarios import APPS
from tests.determinism.archive_scenarios import ARCHIVES
from tests.determinism.build_scenarios import BUILDS
from tests.determinism.client_scenarios import CLIENTS
from tests.determinism.control_scenarios import CONTROLS
from tests.determinism.follower_scenarios import FOLLOWERS
from tests.determinism.logs import without_errors
from tests.determinism.process_scenarios import LIVES
from tests.determinism.ready_scenarios import READY
from tests.determinism.replace_scenarios import REPLACES
from tests.determinism.start_rate_scenarios import TURNS
from tests.determinism.state_scenarios import STATE

KINDS = (
    LIVES,
    READY,
    STATE,
    REPLACES,
    APPS,
    ARCHIVES,
    BUILDS,
    CLIENTS,
    FOLLOWERS,
    CONTROLS,
    STARTS,
    TURNS,
)
SCENARIOS = {name: without_errors(one) for kind in KINDS for name, one in kind.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_cancellation_leaves_nothing_wherever_it_comes(name: str) -> None:
    """And is no defect for anybody, which the log would tell."""
    assert cancel_at_every_checkpoint(SCENARIOS[name]) > 5


def test_an_error_in_the_log_is_a_failure_that_says_where() -> None:
    """As of a defect that the agent survives when it is cancelled."""

    async def survive(trial: Trial) -> None:
        with trial.subject():
            await trio.sleep(1)
        if trial.cancelled:
            logging.getLogger("agent").error("a defect")

    with pytest.raises(AssertionError, match="agent: a defect") as caught:
        run_trial(without_errors(survive), seed=5, checkpoint=2)
    assert caught.value.__notes__[0].startswith("seed 5, cancelled at checkpoint 2, after ")

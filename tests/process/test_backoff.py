"""The schedule of restarts, as api.md and the documentation state it."""

from __future__ import annotations

import pytest

from smartmob_agent.config.settings import RestartDelays
from smartmob_agent.process.backoff import Backoff


def test_the_bound_doubles_up_to_the_cap() -> None:
    backoff = Backoff(RestartDelays(), random=lambda: 1.0)
    assert [backoff.after_failure() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_jitter_is_full() -> None:
    """The delay is anything from nothing to the bound."""
    numbers = iter([0.0, 0.5, 0.25])
    backoff = Backoff(RestartDelays(), random=lambda: next(numbers))
    assert [backoff.after_failure() for _ in range(3)] == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(("uptime", "delay"), [(9.99, 4.0), (10.0, 0.0), (3600.0, 0.0)])
def test_a_steady_run_is_followed_at_once(uptime: float, delay: float) -> None:
    backoff = Backoff(RestartDelays(), random=lambda: 1.0)
    backoff.after_failure()
    backoff.after_failure()
    assert backoff.after_run(uptime) == delay


def test_a_steady_run_forgets_what_was_before() -> None:
    backoff = Backoff(RestartDelays(), random=lambda: 1.0)
    for uptime in (0.0, 0.0, 0.0, 10.0):
        backoff.after_run(uptime)
    assert backoff.after_run(0.0) == 1.0


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(None, 0.5), (0.0, 0.5), (0.25, 0.5), (30.0, 30.0), (1e18, 60.0)]
)
def test_who_failed_may_say_how_long_to_wait(retry_after: float | None, delay: float) -> None:
    """Longer than chance would have it, but not longer than the cap."""
    backoff = Backoff(RestartDelays(), random=lambda: 0.5)
    assert backoff.after_failure(retry_after) == delay


def test_it_never_gives_up() -> None:
    """The number of tries has no bound: 2.0 ** 1024 would be an OverflowError."""
    backoff = Backoff(RestartDelays(), random=lambda: 1.0)
    assert {backoff.after_failure() for _ in range(2000)} == {1, 2, 4, 8, 16, 32, 60}


def test_a_cap_below_the_base_holds_from_the_start() -> None:
    backoff = Backoff(RestartDelays(base_delay=5.0, cap_delay=2.0), random=lambda: 1.0)
    assert [backoff.after_failure(), backoff.after_failure()] == [2.0, 2.0]

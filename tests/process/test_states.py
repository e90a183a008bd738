"""The table of transitions is the only word on what may follow."""

from __future__ import annotations

import pytest

from smartmob_agent.process.states import (
    FAILURES,
    REPEATABLE,
    TRANSITIONS,
    IllegalTransitionError,
    State,
    check_transition,
)


def test_each_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(State)


def test_each_state_but_the_last_can_be_stopped() -> None:
    """Delete works in every state."""
    stoppable = {state for state, later in TRANSITIONS.items() if State.STOPPING in later}
    assert stoppable == set(State) - {State.STOPPING, State.GONE}


def test_a_failure_only_ends_by_a_stop() -> None:
    final = {TRANSITIONS[state] for state in FAILURES - REPEATABLE}
    assert final == {frozenset({State.STOPPING})}


def test_a_build_that_failed_is_tried_again_if_someone_asks() -> None:
    assert {State.BUILD_FAILURE} == REPEATABLE
    assert TRANSITIONS[State.BUILD_FAILURE] == {State.BACKOFF, State.STOPPING}


def test_each_state_can_be_reached() -> None:
    assert set().union(*TRANSITIONS.values()) == set(State) - {State.PENDING}


def test_a_transition_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(IllegalTransitionError, match="'running' may not follow 'pending'"):
        check_transition(State.PENDING, State.RUNNING)


def test_a_transition_of_the_table_is_accepted() -> None:
    check_transition(State.RUNNING, State.BACKOFF)

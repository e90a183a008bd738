"""The states of a process, and which may follow which."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from smartmob_agent.errors import RequestError

__all__ = [
    "ENDS",
    "FAILURES",
    "REPEATABLE",
    "TRANSITIONS",
    "IllegalTransitionError",
    "State",
    "WrongStateError",
    "check_transition",
]


class State(enum.StrEnum):
    """Where a process is in its life."""

    PENDING = "pending"
    """Created; its task has not begun."""
    DOWNLOADING = "downloading"
    UNPACKING = "unpacking"
    PROCESSING = "processing"
    """Its Procfile is read and its child started for the first time."""
    BUILDING = "building"
    """What it needs is being installed, or copied."""
    RUNNING = "running"
    BACKOFF = "backoff"
    """Its child ended, or something that may mend itself failed: it tries again soon."""
    FINISHED = "finished"
    """Its child ended as it was asked to run: once.  It waits to be deleted or started again."""
    STOPPING = "stopping"
    GONE = "gone"
    """Nothing is left of it; never seen over HTTP."""
    DOWNLOAD_FAILURE = "download failure"
    UNPACK_FAILURE = "unpack failure"
    NO_PROCFILE = "no procfile"
    INVALID_PROCFILE = "invalid procfile"
    UNKNOWN_PROCESS_TYPE = "unknown process type"
    INVALID_APP_JSON = "invalid app.json"
    BUILD_FAILURE = "build failure"


FAILURES = frozenset(
    {
        State.DOWNLOAD_FAILURE,
        State.UNPACK_FAILURE,
        State.NO_PROCFILE,
        State.INVALID_PROCFILE,
        State.UNKNOWN_PROCESS_TYPE,
        State.INVALID_APP_JSON,
        State.BUILD_FAILURE,
    }
)
"""What trying again cannot mend: the process waits to be deleted."""

REPEATABLE = frozenset({State.BUILD_FAILURE})
"""Failures after which someone may ask for another try: the world may have changed."""

ENDS = FAILURES | {State.STOPPING, State.GONE}
"""States in which no child will be started any more."""

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.DOWNLOADING, State.FINISHED, State.STOPPING}),
    State.DOWNLOADING: frozenset(
        {State.UNPACKING, State.DOWNLOAD_FAILURE, State.BACKOFF, State.STOPPING}
    ),
    State.UNPACKING: frozenset(
        {
            State.PROCESSING,
            State.DOWNLOAD_FAILURE,
            State.UNPACK_FAILURE,
            State.NO_PROCFILE,
            State.INVALID_PROCFILE,
            State.BACKOFF,
            State.STOPPING,
        }
    ),
    State.PROCESSING: frozenset(
        {
            State.BUILDING,
            State.RUNNING,
            State.NO_PROCFILE,
            State.INVALID_PROCFILE,
            State.UNKNOWN_PROCESS_TYPE,
            State.INVALID_APP_JSON,
            State.BUILD_FAILURE,
            State.BACKOFF,
            State.STOPPING,
        }
    ),
    State.RUNNING: frozenset({State.BACKOFF, State.FINISHED, State.STOPPING}),
    State.FINISHED: frozenset({State.BACKOFF, State.STOPPING}),
    State.BUILDING: frozenset({State.RUNNING, State.BUILD_FAILURE, State.BACKOFF, State.STOPPING}),
    State.BACKOFF: frozenset({State.DOWNLOADING, State.RUNNING, State.BACKOFF, State.STOPPING}),
    State.STOPPING: frozenset({State.GONE}),
    State.GONE: frozenset(),
    **dict.fromkeys(sorted(FAILURES - REPEATABLE), frozenset({State.STOPPING})),
    **dict.fromkeys(sorted(REPEATABLE), frozenset({State.BACKOFF, State.STOPPING})),
}
"""State → the states that may follow it."""


class WrongStateError(RequestError):
    """What was asked for cannot be done in the state in which the process is.

    expected: what kind of process it takes.
    """

    status = 409

    def __init__(self, expected: str, state: State) -> None:
        super().__init__(f"expected a process {expected}, found one in the state {state.value!r}")
        self.state = state


class IllegalTransitionError(Exception):
    """An internal error: a state that may not follow the present one."""


def check_transition(old: State, new: State) -> None:
    """Raise `IllegalTransitionError` unless `new` may follow `old`."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransitionError(f"{new.value!r} may not follow {old.value!r}")

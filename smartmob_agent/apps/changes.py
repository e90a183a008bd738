"""What a request makes of the state of an app, and what the end of a rollout does.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import attrs

from smartmob_agent.apps.wanted import ENDED, AppState, Release, RolloutState, WantedRollout
from smartmob_agent.errors import RequestError

__all__ = [
    "NoSuchReleaseError",
    "ReleaseNotDoneError",
    "begin_release",
    "begin_rollback",
    "end_rollout",
    "is_rolling",
    "scale",
]

KEPT_RELEASES = 20


class NoSuchReleaseError(RequestError):
    """The app has no such release, or not any more."""

    status = 404

    def __init__(self, name: str, number: int | None) -> None:
        which = "to go back to" if number is None else str(number)
        super().__init__(f"the app {name!r} has no release {which}")


class ReleaseNotDoneError(RequestError):
    """A release that never served cannot be gone back to."""

    status = 409

    def __init__(self, name: str, release: Release) -> None:
        super().__init__(
            f"release {release.number} of the app {name!r} was never done: it is {release.outcome}"
        )


def is_rolling(state: AppState) -> bool:
    """Whether a rollout is under way."""
    return state.rollout is not None and state.rollout.state not in ENDED


def begin_release(state: AppState, release: Release, now: datetime) -> AppState:
    """Want a new release; a rollout under way is superseded.

    release: its number is set here.
    """
    state = _supersede(state, now)
    number = state.last + 1
    release = attrs.evolve(release, number=number, created_at=now)
    rollout = WantedRollout(
        release=number,
        back_to=state.serving,
        started_at=now,
        rollback_of=release.rollback_of,
        version=state.version + 1,
    )
    return _prune(
        attrs.evolve(
            state,
            version=state.version + 1,
            last=number,
            wanted=number,
            releases=(*state.releases, release),
            rollout=rollout,
        )
    )


def begin_rollback(state: AppState, to: int | None, now: datetime) -> AppState:
    """Want what a release was, as a new one.

    to: its number; None for the one that serves while another is on its way, else for the last
        one before it.

    Raises `NoSuchReleaseError` and `ReleaseNotDoneError`.
    """
    number = _default_target(state) if to is None else to
    release = state.release(number)
    if release is None:
        raise NoSuchReleaseError(state.name, to)
    if release.outcome != RolloutState.DONE:
        raise ReleaseNotDoneError(state.name, release)
    again = attrs.evolve(release, rollback_of=number, outcome="rolling", error=None, ended_at=None)
    return begin_release(state, again, now)


def _default_target(state: AppState) -> int | None:
    if state.serving is not None and state.wanted != state.serving:
        return state.serving
    served = state.serving or 0
    current = state.release(served)
    skip = {served} if current is None else {served, current.rollback_of}
    before = [
        one.number
        for one in state.releases
        if one.outcome == RolloutState.DONE and one.number < served and one.number not in skip
    ]
    return max(before, default=None)


def scale(state: AppState, counts: Mapping[str, int], now: datetime) -> AppState:
    """Want other counts; a rollout under way goes on with them."""
    state = attrs.evolve(state, version=state.version + 1, counts=dict(counts), has_counts=True)
    if is_rolling(state):
        return state
    target = state.wanted if _is_halted(state) else state.serving or state.wanted
    rollout = WantedRollout(
        release=target,
        back_to=None,
        started_at=now,
        is_scale=True,
        state=RolloutState.ROLLING,
        version=state.version,
    )
    return attrs.evolve(state, rollout=rollout)


def _is_halted(state: AppState) -> bool:
    release = state.release(state.wanted)
    return release is not None and release.outcome == RolloutState.HALTED


def end_rollout(
    state: AppState,
    outcome: str,
    now: datetime,
    *,
    error: str | None = None,
    slug: str | None = None,
    step: str | None = None,
    lines: tuple[str, ...] = (),
) -> AppState:
    """Note how a rollout has ended; what is wanted is the release that serves, unless it halted."""
    rollout = state.rollout
    assert rollout is not None  # noqa: S101  # It has ended.
    rollout = attrs.evolve(
        rollout,
        state=outcome,
        error=error or rollout.error,
        slug=slug or rollout.slug,
        step=step or rollout.step,
        lines=lines or rollout.lines,
        ended_at=now,
    )
    state = attrs.evolve(state, rollout=rollout)
    if rollout.is_scale:
        return state
    release = state.release(rollout.release)
    assert release is not None  # noqa: S101  # One under way is kept.
    kept = RolloutState.FAILED if outcome == RolloutState.ROLLED_BACK else outcome
    state = state.with_release(
        attrs.evolve(release, outcome=kept, error=rollout.error, ended_at=now)
    )
    if outcome == RolloutState.DONE:
        return attrs.evolve(state, serving=rollout.release)
    if outcome == RolloutState.HALTED or state.serving is None:
        return state
    return attrs.evolve(state, wanted=state.serving, version=state.version + 1)


def _supersede(state: AppState, now: datetime) -> AppState:
    if not is_rolling(state):
        return state
    assert state.rollout is not None  # noqa: S101  # It is under way.
    rollout = attrs.evolve(state.rollout, state=RolloutState.SUPERSEDED, ended_at=now)
    release = state.release(rollout.release)
    if rollout.is_scale or release is None:
        return attrs.evolve(state, rollout=rollout)
    superseded = attrs.evolve(release, outcome=RolloutState.SUPERSEDED, ended_at=now)
    return attrs.evolve(state.with_release(superseded), rollout=rollout)


def _prune(state: AppState) -> AppState:
    """Forget the oldest releases that nobody needs."""
    needed = {state.serving, state.wanted}
    old = [one.number for one in state.releases if one.number not in needed]
    forgotten = set(old[: max(len(state.releases) - KEPT_RELEASES, 0)])
    kept = tuple(one for one in state.releases if one.number not in forgotten)
    return attrs.evolve(state, releases=kept)

"""What is wanted of an app, and its releases: values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import attrs

from smartmob_agent.apps.rollout import OnFailure
from smartmob_agent.child.seam import NO_LIMITS, ResourceLimits
from smartmob_agent.process.policies import PortWish, Readiness, RestartPolicy, StopPolicy
from smartmob_agent.process.spec import ProcessSpec

__all__ = [
    "ENDED",
    "AppState",
    "Release",
    "RolloutState",
    "TypeOptions",
    "WantedRollout",
    "slot_name",
]


class RolloutState:
    """Where a rollout is: the words of the API."""

    FETCHING = "fetching"
    BUILDING = "building"
    RELEASING = "releasing"
    ROLLING = "rolling"
    WATCHING = "watching"
    DONE = "done"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"
    HALTED = "halted"
    SUPERSEDED = "superseded"


ENDED = frozenset(
    {
        RolloutState.DONE,
        RolloutState.FAILED,
        RolloutState.ROLLED_BACK,
        RolloutState.HALTED,
        RolloutState.SUPERSEDED,
    }
)
"""States in which a rollout is over."""


@attrs.frozen(kw_only=True)
class TypeOptions:
    """What the processes of one type ask for, besides what their app does.

    given: the fields as they were asked for, as JSON, for show.
    """

    restart: RestartPolicy = RestartPolicy.ALWAYS
    port: PortWish = "auto"
    ready: Readiness | None = None
    stop: StopPolicy = attrs.field(factory=StopPolicy)
    limits: ResourceLimits = NO_LIMITS
    build: Literal["auto", "never"] = "auto"
    given: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Release:
    """One version of an app.  What runs never changes; how it went is added.

    number: from 1.
    source_sha256: that was asked for, or found.
    env: variable name → value.
    types: process type → options.
    rollback_of: the release that it repeats.
    outcome: of its rollout; `rolling` while there is none.
    """

    number: int
    created_at: datetime
    source_url: str
    source_sha256: str | None = None
    root: str | None = None
    env: Mapping[str, str] = attrs.field(factory=dict)
    types: Mapping[str, TypeOptions] = attrs.field(factory=dict)
    rollback_of: int | None = None
    request_id: str = ""
    outcome: str = "rolling"
    error: str | None = None
    ended_at: datetime | None = None

    def spec(self, app: str, kind: str, node: str) -> ProcessSpec:
        """Return what a process of one type is to be."""
        options = self.types.get(kind, TypeOptions())
        return ProcessSpec(
            app=app,
            node=node,
            process_type=kind,
            source_url=self.source_url,
            source_sha256=self.source_sha256,
            root=self.root,
            env=self.env,
            restart=options.restart,
            port=options.port,
            ready=options.ready,
            stop=options.stop,
            limits=options.limits,
            build=options.build,
            request_id=self.request_id,
            owner=app,
            release=self.number,
        )


@attrs.frozen(kw_only=True)
class WantedRollout:
    """The way to what is wanted, as far as it has to be known after a crash.

    release: where it goes.
    back_to: where it goes back to when it fails; None if there is no such release.
    version: of the app when it began.
    is_scale: only counts have changed.
    hook: whether the `release` command has not begun (`none`), has (`begun`), or has ended well
        (`done`).
    slug, step, lines: of what failed, if something did.
    """

    release: int
    back_to: int | None
    started_at: datetime
    version: int = 1
    is_scale: bool = False
    state: str = RolloutState.FETCHING
    hook: str = "none"
    is_going_back: bool = False
    error: str | None = None
    slug: str | None = None
    step: str | None = None
    lines: tuple[str, ...] = ()
    ended_at: datetime | None = None
    rollback_of: int | None = None


@attrs.frozen(kw_only=True)
class AppState:
    """All that is kept of an app: one document.

    version: counts the changes of what is wanted.
    counts: process type → how many.
    has_counts: whether somebody has said so; else the archive does.
    wanted: number of the release that is wanted.
    serving: of the one that serves; None before the first is done.
    releases: the latest ones, the oldest first.
    last: number of the latest release there was.
    """

    name: str
    created_at: datetime
    version: int = 1
    counts: Mapping[str, int] = attrs.field(factory=dict)
    has_counts: bool = False
    on_failure: OnFailure = "rollback"
    parallel: int = 1
    watch: float = 10.0
    drain: float = 5.0
    wanted: int = 0
    serving: int | None = None
    last: int = 0
    releases: tuple[Release, ...] = ()
    rollout: WantedRollout | None = None
    is_deleted: bool = False

    def release(self, number: int | None) -> Release | None:
        """Return a release; None if it is not known (any more)."""
        return next((one for one in self.releases if one.number == number), None)

    def with_release(self, release: Release) -> AppState:
        """Return the same with one release in the place of what it was before."""
        found = [release if one.number == release.number else one for one in self.releases]
        return attrs.evolve(self, releases=tuple(found))


def slot_name(kind: str, index: int) -> str:
    """Return the `node` of a process of an app."""
    return f"{kind}.{index}"

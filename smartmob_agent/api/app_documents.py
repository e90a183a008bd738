"""The documents about apps: JSON in, checked strictly and once; JSON out."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

import attrs

from smartmob_agent.api.documents import (
    PolicyRequest,
    add_request,
    check_env,
    parse_document,
    policies_of,
)
from smartmob_agent.api.kinds import (
    KINDS,
    Count,
    Digest,
    Name,
    OnFailureKind,
    RootPath,
    Seconds,
    SlotCount,
    SourceUrl,
    TypeName,
    VariableChange,
    VariableName,
    VariableValue,
    parse_object,
)
from smartmob_agent.api.links import Links
from smartmob_agent.api.schemas import (
    EXAMPLE_DIGEST,
    EXAMPLE_TIME,
    SHA256,
    Document,
    Field,
    LinkTo,
    Schema,
    count,
    document,
    or_null,
    request_of,
    text,
    time,
    told,
    url,
)
from smartmob_agent.apps.app import ManagedApp
from smartmob_agent.apps.changes import begin_release, scale
from smartmob_agent.apps.rollout import OnFailure
from smartmob_agent.apps.wanted import ENDED, AppState, Release, RolloutState, TypeOptions
from smartmob_agent.errors import BadRequestError
from smartmob_agent.output.batch import rfc3339
from smartmob_agent.source.download.urls import public_url

__all__ = [
    "APP",
    "APP_LIST",
    "EXAMPLE_APP",
    "PATCH_REQUEST",
    "PUT_REQUEST",
    "RELEASE_LIST",
    "ROLLBACK_REQUEST",
    "Wish",
    "app_document",
    "check_name",
    "etag_of",
    "parse_patch",
    "parse_put",
    "parse_rollback",
    "release_document",
]

EXAMPLE_APP = "shop"
SCHEMES = ("http:", "https:")
_MOST = 1000
"""Processes of one app: more is a mistake."""


def _asked(about: str, example: object = None) -> Mapping[str, Field]:
    return told(Field(about=about) if example is None else Field(about=about, example=example))


@attrs.frozen(kw_only=True)
class TypeRequest(PolicyRequest):
    """What the processes of one type are to be; what is left out stays as it was."""

    count: SlotCount | None = attrs.field(
        default=None, metadata=_asked("How many.  1 for a type that there was not.", 2)
    )


add_request(TypeRequest)


@attrs.frozen(kw_only=True, slots=False)
class _RolloutRequest:
    """How an app is brought to what is wanted."""

    on_failure: OnFailureKind | None = attrs.field(
        default=None,
        metadata=_asked("Whether slots that have a bad release go back.  At first `rollback`."),
    )
    parallel: Count | None = attrs.field(
        default=None, metadata=_asked("Slots of one type that change at once.  At first 1.")
    )
    watch: Seconds | None = attrs.field(
        default=None,
        metadata=_asked("Seconds for which a slot that is ready must run on.  At first 10."),
    )
    drain: Seconds | None = attrs.field(
        default=None,
        metadata=_asked("Seconds for which the old child of a slot goes on.  At first 5."),
    )


@attrs.frozen(kw_only=True)
class PutAppRequest(_RolloutRequest):
    """What is wanted of an app; what is left out stays as it was."""

    source_url: SourceUrl = attrs.field(
        metadata=_asked("Where the archive is.", "http://127.0.0.1:8000/shop.tar.gz")
    )
    source_sha256: Digest | None = attrs.field(
        default=None, metadata=_asked("The SHA-256 digest that the archive must have.")
    )
    root: RootPath | None = attrs.field(
        default=None, metadata=_asked("The directory of the archive that holds the Procfile.")
    )
    env: dict[VariableName, VariableValue] | None = attrs.field(
        default=None, metadata=_asked("Variables for all its processes; never shown.")
    )
    processes: dict[TypeName, TypeRequest] | None = attrs.field(
        default=None,
        metadata=_asked(
            "Process type → what its processes are to be.  The first time it is the `formation` of "
            "the app.json, else one `web`.",
            {"web": {"count": 2}},
        ),
    )


@attrs.frozen(kw_only=True)
class PatchAppRequest(_RolloutRequest):
    """What is to be different; a change of counts alone makes no release."""

    env: dict[VariableName, VariableChange] | None = attrs.field(
        default=None, metadata=_asked("Variables that change; null removes one.")
    )
    processes: dict[TypeName, TypeRequest] | None = attrs.field(
        default=None, metadata=_asked("Process types that change.", {"web": {"count": 3}})
    )


@attrs.frozen(kw_only=True)
class RollbackRequest:
    """Which release to go back to."""

    to: Count | None = attrs.field(
        default=None,
        metadata=_asked("Its number.  By default the last one before the one that serves.", 1),
    )


PUT_REQUEST = request_of(PutAppRequest)
PATCH_REQUEST = request_of(PatchAppRequest)
ROLLBACK_REQUEST = request_of(RollbackRequest)


def check_name(name: str) -> str:
    """Raise `BadRequestError` unless it can be the name of an app."""
    try:
        return str(KINDS[Name].check(name))
    except ValueError as exc:
        raise BadRequestError("the name of the app is not valid", [f"{exc} @ path"]) from None


Wish = Callable[[AppState, datetime], AppState]
"""What a request makes of what is wanted."""


def parse_put(body: bytes, *, request_id: str) -> tuple[Wish, list[TypeOptions]]:
    """Check a PUT; return what it does, and what its types ask for.

    Raises `BadRequestError`.
    """
    request = parse_document(body, PutAppRequest, "app")
    given = parse_object(body)
    if request.env is not None:
        check_env(_strings(request.env), "", "app")
    types = _given_types(given)
    _check_counts(request.processes)

    def wish(state: AppState, now: datetime) -> AppState:
        base = state.release(state.wanted)
        release = Release(
            number=0,
            created_at=now,
            source_url=request.source_url,
            source_sha256=request.source_sha256,
            root=request.root,
            env=_strings(request.env) if request.env is not None else base.env if base else {},
            types=_merge(base, types),
            request_id=request_id,
        )
        state = _with_policy(state, request)
        if request.processes is not None:
            state = _with_counts(state, request.processes)
        return begin_release(state, release, now)

    return wish, [_options(fields) for fields in types.values()]


def parse_patch(body: bytes, *, request_id: str) -> tuple[Wish, list[TypeOptions]]:
    """As `parse_put`, of a PATCH."""
    request = parse_document(body, PatchAppRequest, "app")
    types = _given_types(parse_object(body))
    _check_counts(request.processes)

    def wish(state: AppState, now: datetime) -> AppState:
        base = state.release(state.wanted)
        assert base is not None  # noqa: S101  # An app that is there has one.
        state = _with_policy(state, request)
        counted = state if request.processes is None else _with_counts(state, request.processes)
        merged = _merge(base, types)
        env = _changed_env(base.env, request.env)
        if merged != base.types or env != base.env:
            check_env(env, "", "app")
            release = attrs.evolve(
                base,
                types=merged,
                env=env,
                request_id=request_id,
                rollback_of=None,
                outcome="rolling",
                error=None,
                ended_at=None,
            )
            return begin_release(counted, release, now)
        if counted.counts != state.counts:
            return scale(state, counted.counts, now)
        return attrs.evolve(state, version=state.version + 1)

    return wish, [_options(fields) for fields in types.values()]


def parse_rollback(body: bytes) -> int | None:
    """Check the body of a rollback, which may be empty; return the number of the release."""
    if not body.strip():
        return None
    return parse_document(body, RollbackRequest, "rollback").to


def _strings(env: Mapping[VariableName, VariableValue]) -> dict[str, str]:
    return {str(name): str(value) for name, value in env.items()}


def _changed_env(
    env: Mapping[str, str], change: Mapping[VariableName, VariableChange] | None
) -> Mapping[str, str]:
    changed = {**env}
    for name, value in (change or {}).items():
        if isinstance(value, str):
            changed[str(name)] = value
        else:
            changed.pop(str(name), None)
    return changed


def _given_types(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the fields of each type as they were given, without counts."""
    return {
        kind: {name: value for name, value in fields.items() if name != "count"}
        for kind, fields in (data.get("processes") or {}).items()
    }


def _merge(
    base: Release | None, types: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, TypeOptions]:
    merged = {} if base is None else dict(base.types)
    for kind, fields in types.items():
        before = merged[kind].given if kind in merged else {}
        merged[kind] = _options({**before, **fields})
    return merged


def _options(given: Mapping[str, Any]) -> TypeOptions:
    request = parse_document(json.dumps(given).encode(), TypeRequest, "app")
    return TypeOptions(given=dict(given), **policies_of(request))


def _with_policy(state: AppState, request: _RolloutRequest) -> AppState:
    asked: dict[str, Any] = {
        "on_failure": cast("OnFailure | None", request.on_failure and str(request.on_failure)),
        "parallel": request.parallel,
        "watch": request.watch,
        "drain": request.drain,
    }
    return attrs.evolve(state, **{name: one for name, one in asked.items() if one is not None})


def _check_counts(processes: Mapping[TypeName, TypeRequest] | None) -> None:
    wanted = sum(one.count or 0 for one in (processes or {}).values())
    if wanted > _MOST:
        error = f"expected at most {_MOST} processes in all, found {wanted} @ $.processes"
        raise BadRequestError("the app request is not valid", [error])


def _with_counts(state: AppState, processes: Mapping[TypeName, TypeRequest]) -> AppState:
    counts = dict(state.counts)
    for kind, request in processes.items():
        counts[kind] = counts.get(kind, 1) if request.count is None else request.count
    return attrs.evolve(state, counts=counts, has_counts=True)


# What is told

_COUNTS: Schema = {
    "type": "object",
    "description": "Process type → what is there.",
    "additionalProperties": document(
        "The processes of one type.",
        wanted=count("How many there are to be."),
        count=count("How many there are."),
        ready=count("How many of them are ready."),
        slugs={"type": "array", "items": text()},
    ),
}
_STATES = [
    value for name, value in vars(RolloutState).items() if name.isupper() and value is not None
]
_WANTED = document(
    "What is wanted.",
    release=count("Number of the release.", minimum=1),
    source_url=text("Without credentials and query."),
    source_sha256=or_null(SHA256),
    root=or_null(text()),
    env={"type": "array", "description": "Names of variables.", "items": text()},
    processes={
        "type": "object",
        "description": "Process type → count, and the fields that were given.",
        "additionalProperties": {"type": "object"},
    },
    on_failure=text(enum=["rollback", "halt"]),
    parallel=count("Slots of one type that change at once.", minimum=1),
    watch={"type": "number", "minimum": 0},
    drain={"type": "number", "minimum": 0},
)
_ROLLOUT = document(
    "The latest rollout.",
    state=text(enum=_STATES),
    release=count("Of the release on its way.", minimum=1),
    step=text("What is under way, or what failed."),
    done=count("Slots that have it for good."),
    total=count("Slots that are to have it."),
    error=or_null(text("Why it failed: one line for a human.")),
    lines={"type": "array", "description": "Last output of what failed.", "items": text()},
    rollback_of=or_null(count("The release that it repeats.", minimum=1)),
    started_at=time("When"),
    ended_at=or_null(time("When")),
)
_EXAMPLE: Mapping[str, Any] = {
    "app": EXAMPLE_APP,
    "details": LinkTo("getApp", EXAMPLE_APP),
    "releases": LinkTo("listReleases", EXAMPLE_APP),
    "rollback": LinkTo("rollBackApp", EXAMPLE_APP),
    "created_at": EXAMPLE_TIME,
    "release": None,
    "wanted": {
        "release": 1,
        "source_url": "http://127.0.0.1:8000/shop.tar.gz",
        "source_sha256": None,
        "root": None,
        "env": [],
        "processes": {"web": {"count": 2}},
        "on_failure": "rollback",
        "parallel": 1,
        "watch": 10.0,
        "drain": 5.0,
    },
    "processes": {"web": {"wanted": 2, "count": 0, "ready": 0, "slugs": []}},
    "rollout": {
        "state": "fetching",
        "release": 1,
        "step": "",
        "done": 0,
        "total": 0,
        "error": None,
        "lines": [],
        "rollback_of": None,
        "started_at": EXAMPLE_TIME,
        "ended_at": None,
    },
}
APP = Document(
    name="App",
    schema=document(
        "An app: what is wanted of it, and what is there.",
        app=text("Its name."),
        details=url("This document."),
        releases=url("Its releases."),
        rollback=url("POST there to roll back."),
        created_at=time("When it was created"),
        release=or_null(count("The one that serves.", minimum=1)),
        wanted=_WANTED,
        processes=_COUNTS,
        rollout=_ROLLOUT,
    ),
    example=_EXAMPLE,
)
APP_LIST = Document(
    name="AppList",
    schema=document("All apps, by name.", apps={"type": "array", "items": APP}),
)
_RELEASE = document(
    "A release.",
    release=count("Its number.", minimum=1),
    created_at=time("When it was created"),
    source_url=text("Without credentials and query."),
    source_sha256=or_null({**SHA256, "example": EXAMPLE_DIGEST}),
    env={"type": "array", "description": "Names of variables.", "items": text()},
    processes={"type": "object", "additionalProperties": {"type": "object"}},
    outcome=text(enum=["rolling", "done", "failed", "halted", "superseded"]),
    error=or_null(text("Why it failed: one line for a human.")),
    rollback_of=or_null(count("The release that it repeats.", minimum=1)),
    ended_at=or_null(time("When its rollout ended")),
)
RELEASE_LIST = Document(
    name="ReleaseList",
    schema=document(
        "The releases of an app, the newest first.",
        releases={"type": "array", "items": _RELEASE},
    ),
)


@functools.lru_cache(maxsize=1024)
def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def etag_of(state: AppState) -> str:
    """Return the entity tag of what is wanted: RFC 9110, section 8.8.3."""
    return f'"{int(state.created_at.timestamp() * 1000):x}-{state.version}"'


def app_document(app: ManagedApp, links: Links) -> dict[str, Any]:
    """Return what can be seen of an app; values of its `env` are no part of it."""
    state, name = app.state, app.name
    processes = app.processes
    there: dict[str, dict[str, Any]] = {
        kind: {"wanted": wanted, "count": 0, "ready": 0, "slugs": []}
        for kind, wanted in state.counts.items()
    }
    for process in processes:
        kind, _, _number = process.spec.node.rpartition(".")
        if kind in there:
            there[kind]["count"] += 1
            there[kind]["ready"] += process.ready
            there[kind]["slugs"].append(process.slug)
    for one in there.values():
        one["slugs"].sort(key=lambda slug: int(slug.rpartition(".")[2]))
    return {
        "app": name,
        "details": links.to("getApp", name),
        "releases": links.to("listReleases", name),
        "rollback": links.to("rollBackApp", name),
        "created_at": _time(state.created_at),
        "release": state.serving,
        "wanted": _wanted(state),
        "processes": there,
        "rollout": _rollout(app),
    }


def _shown_url(url: str) -> str:
    """As it may be shown; that of an upload is no secret."""
    return public_url(url) if url.startswith(SCHEMES) else url


def _wanted(state: AppState) -> dict[str, Any]:
    release = state.release(state.wanted)
    assert release is not None  # noqa: S101  # What is wanted is kept.
    return {
        "release": release.number,
        "source_url": _shown_url(release.source_url),
        "source_sha256": release.source_sha256,
        "root": release.root,
        "env": sorted(release.env),
        "processes": {
            kind: {"count": wanted, **(release.types[kind].given if kind in release.types else {})}
            for kind, wanted in state.counts.items()
        },
        "on_failure": state.on_failure,
        "parallel": state.parallel,
        "watch": state.watch,
        "drain": state.drain,
    }


def _rollout(app: ManagedApp) -> dict[str, Any]:
    rollout, progress = app.rollout, app.progress
    ended = rollout.state in ENDED
    return {
        "state": rollout.state if ended else progress.state,
        "release": rollout.release,
        "step": (rollout.step or "") if ended else progress.step,
        "done": progress.done,
        "total": progress.total,
        "error": rollout.error,
        "lines": list(rollout.lines),
        "rollback_of": rollout.rollback_of,
        "started_at": _time(rollout.started_at),
        "ended_at": _time(rollout.ended_at),
    }


def release_document(release: Release) -> dict[str, Any]:
    """Return what can be seen of a release."""
    return {
        "release": release.number,
        "created_at": _time(release.created_at),
        "source_url": _shown_url(release.source_url),
        "source_sha256": release.source_sha256,
        "env": sorted(release.env),
        "processes": {kind: dict(options.given) for kind, options in release.types.items()},
        "outcome": release.outcome,
        "error": release.error,
        "rollback_of": release.rollback_of,
        "ended_at": _time(release.ended_at),
    }

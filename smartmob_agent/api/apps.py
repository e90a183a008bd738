"""The routes of apps: what is wanted of many processes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from smartmob_agent.api.app_documents import (
    APP,
    APP_LIST,
    EXAMPLE_APP,
    PATCH_REQUEST,
    PUT_REQUEST,
    RELEASE_LIST,
    ROLLBACK_REQUEST,
    Wish,
    app_document,
    check_name,
    etag_of,
    parse_patch,
    parse_put,
    parse_rollback,
    release_document,
)
from smartmob_agent.api.documents import NOTHING, parse_empty_request
from smartmob_agent.api.kinds import SWITCH, TEXT, QueryOption, parse_query
from smartmob_agent.api.problem_catalogue import STATE_FULL, STOPPING, ProblemReply
from smartmob_agent.api.route import (
    Answer,
    ApiContext,
    Body,
    Request,
    Route,
    json_answer,
    json_reply,
)
from smartmob_agent.apps.app import ManagedApp
from smartmob_agent.apps.changes import (
    NoSuchReleaseError,
    ReleaseNotDoneError,
    begin_rollback,
    is_rolling,
)
from smartmob_agent.apps.registry import (
    AppNotFoundError,
    PreconditionFailedError,
    SlugsInUseError,
)
from smartmob_agent.apps.wanted import AppState, Release, RolloutState, TypeOptions
from smartmob_agent.errors import RequestError, StoppingError

__all__ = ["ROUTES"]


class RolloutFailedError(RequestError):
    """A rollout has ended without the release that was wanted."""

    status = 409

    def __init__(self, state: AppState) -> None:
        rollout = state.rollout
        assert rollout is not None  # noqa: S101  # It has ended.
        super().__init__(
            f"release {rollout.release} of the app {state.name!r}: {rollout.state}"
            + (f": {rollout.error}" if rollout.error else "")
        )
        self._members = {
            "release": rollout.release,
            "step": rollout.step or rollout.state,
            "lines": list(rollout.lines),
        }

    @property
    def members(self) -> Mapping[str, object]:
        return self._members


class RolloutSupersededError(RequestError):
    """Something else was wanted before a rollout had ended."""

    status = 409

    def __init__(self, name: str) -> None:
        super().__init__(f"something else was wanted of the app {name!r} before this was done")


_WAIT = {"wait": QueryOption(kind=SWITCH, default=0, about="1: answer when the rollout has ended.")}
_IF_MATCH = {
    "If-Match": QueryOption(
        kind=TEXT, about="Change it only if what is wanted has this entity tag still."
    )
}
_NOT_FOUND = ProblemReply.of("AppNotFound", "There is no such app.", AppNotFoundError(EXAMPLE_APP))
_NO_RELEASE = ProblemReply.of(
    "NoSuchRelease", "The app has no such release.", NoSuchReleaseError(EXAMPLE_APP, 7)
)
_PRECONDITION = ProblemReply.of(
    "PreconditionFailed",
    "Somebody else has changed what is wanted.",
    PreconditionFailedError(EXAMPLE_APP),
)
_SLUGS = ProblemReply.of(
    "SlugsInUse",
    "Another process has a slug that the app wants.",
    SlugsInUseError(EXAMPLE_APP, f"{EXAMPLE_APP}.web.0"),
)
_NOT_DONE = ProblemReply.of(
    "ReleaseNotDone",
    "The release never served.",
    ReleaseNotDoneError(
        EXAMPLE_APP,
        Release(
            number=2,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            source_url="http://127.0.0.1:8000/shop.tar.gz",
            outcome=RolloutState.FAILED,
        ),
    ),
)
_FAILED = ProblemReply.plain(
    "RolloutFailed",
    "With `wait=1`: the release is not there; `step` and `lines` say what failed.",
    409,
    "release 2 of the app 'shop': rolled back: shop.web.1: the child ended with exit code 1",
)
_SUPERSEDED = ProblemReply.of(
    "RolloutSuperseded", "With `wait=1`: something else was wanted.",
    RolloutSupersededError(EXAMPLE_APP),
)  # fmt: skip
_CHANGING = (_SLUGS, _FAILED, _SUPERSEDED, _PRECONDITION, STOPPING, STATE_FULL)


async def _list(context: ApiContext, request: Request) -> Answer:
    return json_answer(200, {"apps": [app_document(app, request.links) for app in context.apps]})


async def _show(context: ApiContext, request: Request) -> Answer:
    app = context.apps.get(request.slug)
    return json_answer(200, app_document(app, request.links), {"ETag": etag_of(app.state)})


async def _put(context: ApiContext, request: Request) -> Answer:
    wait = parse_query(request.query, _WAIT).get("wait", False)
    name = check_name(request.slug)
    wish, types = parse_put(await request.read_body(), request_id=request.request_id)
    _check_types(context, types)
    app, version = await context.apps.put(name, _change(context, request, wish))
    return await _answer(app, version, request, wait=wait)


async def _patch(context: ApiContext, request: Request) -> Answer:
    wait = parse_query(request.query, _WAIT).get("wait", False)
    wish, types = parse_patch(await request.read_body(), request_id=request.request_id)
    _check_types(context, types)
    app, version = await context.apps.change(request.slug, _change(context, request, wish))
    return await _answer(app, version, request, wait=wait)


async def _roll_back(context: ApiContext, request: Request) -> Answer:
    wait = parse_query(request.query, _WAIT).get("wait", False)
    to = parse_rollback(await request.read_body())
    wish = partial(_back, to)
    app, version = await context.apps.change(request.slug, _change(context, request, wish))
    return await _answer(app, version, request, wait=wait)


def _back(to: int | None, state: AppState, now: datetime) -> AppState:
    return begin_rollback(state, to, now)


async def _releases(context: ApiContext, request: Request) -> Answer:
    releases = reversed(context.apps.get(request.slug).state.releases)
    return json_answer(200, {"releases": [release_document(one) for one in releases]})


async def _delete(context: ApiContext, request: Request) -> Answer:
    parse_empty_request(await request.read_body())
    await context.apps.delete(request.slug, partial(_check_match, request))
    return json_answer(200, {})


def _check_types(context: ApiContext, types: list[TypeOptions]) -> None:
    for options in types:
        context.supervisor.check_limits(options.limits)


def _change(context: ApiContext, request: Request, wish: Wish) -> Callable[[AppState], AppState]:
    def change(state: AppState) -> AppState:
        _check_match(request, state)
        return wish(state, context.apps.now())

    return change


def _check_match(request: Request, state: AppState) -> None:
    """Heed `If-Match`: RFC 9110, section 13.1.1."""
    wanted = request.headers.get("if-match")
    if wanted is None:
        return
    tags = [tag.strip() for tag in wanted.split(",")]
    is_new = not state.last
    if is_new or not ("*" in tags or etag_of(state) in tags):
        raise PreconditionFailedError(state.name)


async def _answer(app: ManagedApp, version: int, request: Request, *, wait: bool) -> Answer:
    if wait:
        # It goes on if the client leaves.
        state = await app.wait_rollout(version)
        if app.gone.is_set() or app.rollout.version > version:
            raise RolloutSupersededError(app.name)
        if is_rolling(state):
            raise StoppingError
        if app.rollout.state != RolloutState.DONE:
            raise RolloutFailedError(state)
    headers = {"ETag": etag_of(app.state)}
    return json_answer(200 if wait else 202, app_document(app, request.links), headers)


_ANSWERS = {
    200: json_reply("With `wait=1`: it is as wanted.", APP, headers=("ETag",)),
    202: json_reply("It is kept, and under way.", APP, headers=("ETag",)),
}
ROUTES = (
    Route(
        method="GET",
        path="/apps",
        handle=_list,
        id="listApps",
        tag="apps",
        summary="List all apps",
        replies={200: json_reply("All of them.", APP_LIST)},
        relation="smartmob:apps",
    ),
    Route(
        method="GET",
        path="/apps/<slug>",
        parameter="app",
        handle=_show,
        id="getApp",
        tag="apps",
        summary="Look at an app",
        replies={200: json_reply("What is wanted, and what is there.", APP, headers=("ETag",))},
        problems=(_NOT_FOUND,),
    ),
    Route(
        method="PUT",
        path="/apps/<slug>",
        parameter="app",
        handle=_put,
        id="putApp",
        tag="apps",
        summary="Deploy a new release of an app",
        about=(
            "It is made if there is none.  The release is fetched and built, its `release` command "
            "runs, and then slot by slot gets it, each new child beside the old one.  If a slot "
            "fails, all go back to what they had.  A newer request supersedes one under way."
        ),
        query=_WAIT,
        headers=_IF_MATCH,
        body=Body(schema=PUT_REQUEST),
        replies=_ANSWERS,
        problems=_CHANGING,
    ),
    Route(
        method="PATCH",
        path="/apps/<slug>",
        parameter="app",
        handle=_patch,
        id="patchApp",
        tag="apps",
        summary="Change counts, variables or options of an app",
        query=_WAIT,
        headers=_IF_MATCH,
        body=Body(schema=PATCH_REQUEST),
        replies=_ANSWERS,
        problems=(_NOT_FOUND, *_CHANGING),
    ),
    Route(
        method="DELETE",
        path="/apps/<slug>",
        parameter="app",
        handle=_delete,
        id="deleteApp",
        tag="apps",
        summary="Delete an app with all its processes",
        about="It goes on if the client goes away.",
        headers=_IF_MATCH,
        body=Body(schema=NOTHING, required=False),
        replies={200: json_reply("Nothing of it is left.", NOTHING)},
        problems=(_NOT_FOUND, _PRECONDITION, STATE_FULL),
    ),
    Route(
        method="GET",
        path="/apps/<slug>/releases",
        parameter="app",
        handle=_releases,
        id="listReleases",
        tag="apps",
        summary="List the releases of an app",
        replies={200: json_reply("The latest ones.", RELEASE_LIST)},
        problems=(_NOT_FOUND,),
    ),
    Route(
        method="POST",
        path="/apps/<slug>/rollback",
        parameter="app",
        handle=_roll_back,
        id="rollBackApp",
        tag="apps",
        summary="Go back to an earlier release",
        about="It becomes a release with a new number.",
        query=_WAIT,
        headers=_IF_MATCH,
        body=Body(schema=ROLLBACK_REQUEST, required=False),
        replies=_ANSWERS,
        problems=(_NOT_FOUND, _NO_RELEASE, _NOT_DONE, *_CHANGING[1:]),
    ),
)

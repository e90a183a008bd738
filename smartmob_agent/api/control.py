"""The routes by which a process is started again, replaced or sent a signal."""

from __future__ import annotations

from smartmob_agent.api.documents import (
    NOTHING,
    PROCESS_STATUS,
    REPLACE_REQUEST,
    SIGNAL_REQUEST,
    parse_empty_request,
    parse_replace_request,
    parse_signal_request,
    process_status,
)
from smartmob_agent.api.kinds import SWITCH, QueryOption, parse_query
from smartmob_agent.api.problem_catalogue import (
    NOT_FOUND,
    OWNED,
    STATE_FULL,
    STOPPING,
    ProblemReply,
)
from smartmob_agent.api.route import (
    Answer,
    ApiContext,
    Body,
    Request,
    Route,
    json_answer,
    json_reply,
)
from smartmob_agent.api.schemas import EXAMPLE_SLUG
from smartmob_agent.process.replacement import ReplaceFailedError, ReplaceSupersededError
from smartmob_agent.process.states import State, WrongStateError

__all__ = ["ROUTES"]

_RESTART_OPTIONS = {
    "wait": QueryOption(
        kind=SWITCH, default=0, about="1: answer when it is known what has become of it."
    )
}
_REPLACE_OPTIONS = {
    "wait": QueryOption(
        kind=SWITCH, default=0, about="1: answer when the new version has the place, or has failed."
    )
}
_REPLACE_FAILED = ProblemReply.of(
    "ReplaceFailed",
    "The new version came to nothing, and the old one goes on.",
    ReplaceFailedError(
        EXAMPLE_SLUG,
        "waiting",
        "the child ended with exit code 1 after 0.2 s",
        ["ModuleNotFoundError: No module named 'flask'"],
    ),
)
_SUPERSEDED = ProblemReply.of(
    "ReplaceSuperseded",
    "Another version was asked for before this one was ready.",
    ReplaceSupersededError(EXAMPLE_SLUG),
)
_WRONG_STATE = ProblemReply.of(
    "WrongState",
    "It cannot be done in the state in which the process is.",
    WrongStateError("with a child that runs", State.BACKOFF),
)


async def _restart(context: ApiContext, request: Request) -> Answer:
    """202 at once; with `wait=1` 200, when it is known what has become of it."""
    wait = parse_query(request.query, _RESTART_OPTIONS).get("wait", False)
    parse_empty_request(await request.read_body())
    process = context.supervisor.get(request.slug)
    starts = process.starts
    await process.keep_and_restart()
    if wait:
        # The restart goes on if the client leaves.
        await process.wait_started(starts)
    return json_answer(200 if wait else 202, process_status(process, request.links))


async def _replace(context: ApiContext, request: Request) -> Answer:
    """202 when it is kept; with `wait=1` 200, when the new version has the place."""
    wait = parse_query(request.query, _REPLACE_OPTIONS).get("wait", False)
    body = await request.read_body()
    process = context.supervisor.get(request.slug)
    process.check_free()
    app, node = process.spec.app, process.spec.node
    wish = parse_replace_request(body, app=app, node=node, request_id=request.request_id)
    # It goes on if the client leaves.
    attempt = context.supervisor.replace(request.slug, wish)
    await attempt.wait_kept()
    if wait:
        await attempt.wait_switched()
    return json_answer(200 if wait else 202, process_status(process, request.links))


async def _send_signal(context: ApiContext, request: Request) -> Answer:
    number = parse_signal_request(await request.read_body())
    context.supervisor.get(request.slug).send_signal(number)
    return json_answer(200, {})


ROUTES = (
    Route(
        method="POST",
        path="/restart-process/<slug>",
        handle=_restart,
        id="restartProcess",
        tag="control",
        summary="Start a process again, now",
        about="A child that runs is ended first.  It goes on if the client goes away.",
        query=_RESTART_OPTIONS,
        body=Body(schema=NOTHING, required=False),
        replies={
            200: json_reply("With `wait=1`: what has become of it.", PROCESS_STATUS),
            202: json_reply("It is under way.", PROCESS_STATUS),
        },
        problems=(NOT_FOUND, _WRONG_STATE, STATE_FULL),
    ),
    Route(
        method="POST",
        path="/replace-process/<slug>",
        handle=_replace,
        id="replaceProcess",
        tag="control",
        summary="Put another version in the place of a process",
        about=(
            "It is fetched, unpacked and built while the old one runs, and has the place, slug and "
            "console, when its child is ready.  If it fails before that, the old one goes on, and "
            "its `error` says why.  A newer request calls off one under way."
        ),
        query=_REPLACE_OPTIONS,
        body=Body(schema=REPLACE_REQUEST),
        replies={
            200: json_reply("With `wait=1`: the new version has the place.", PROCESS_STATUS),
            202: json_reply("It is under way.", PROCESS_STATUS),
        },
        problems=(NOT_FOUND, OWNED, _REPLACE_FAILED, _SUPERSEDED, STOPPING, STATE_FULL),
    ),
    Route(
        method="POST",
        path="/signal-process/<slug>",
        handle=_send_signal,
        id="signalProcess",
        tag="control",
        summary="Send a signal to the process group of the child",
        body=Body(schema=SIGNAL_REQUEST),
        replies={200: json_reply("It was sent.", NOTHING)},
        problems=(NOT_FOUND, _WRONG_STATE),
    ),
)

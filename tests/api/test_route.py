"""A route is told once: all that depends on it comes out of its declaration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import httpx
import pytest
import trio

from smartmob_agent.api.app import ROUTES, make_app
from smartmob_agent.api.openapi import describe
from smartmob_agent.api.route import (
    Answer,
    ApiContext,
    Reply,
    Request,
    Route,
    json_answer,
    json_reply,
    rules_of,
)
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.http.asgi import App
from smartmob_agent.http.body_limits import BodyLimits
from smartmob_agent.http.extensions import ClientLink
from smartmob_agent.http.middleware.request_id import identify_requests
from tests.api.asgi import make_context
from tests.api.asking import make_scope
from tests.apps.world import open_apps
from tests.process.world import World

LIMITS = BodyLimits(size_bytes=3, idle_timeout=1, total_timeout=2)


async def answer_with_body(_context: ApiContext, request: Request) -> Answer:
    body = await request.read_body()
    return json_answer(200, {"slug": request.slug, "body": body.decode()})


ONE = Route(
    method="PUT",
    path="/one",
    handle=answer_with_body,
    id="putOne",
    tag="agent",
    summary="Put one",
    replies={200: json_reply("It.", {"type": "object"})},
    limits=lambda _: LIMITS,
)
READ = attrs.evolve(
    ONE,
    method="GET",
    path="/read",
    id="read",
    replies={200: Reply("It.", {"text/x-one": {}, "text/x-two": {}})},
    open=True,
    quiet=True,
    limits=None,
    relation="smartmob:read",
)


async def test_what_the_agent_asks_of_the_middleware() -> None:
    async with World().open() as supervisor, open_apps(supervisor) as apps:
        rules = rules_of(make_context(supervisor, apps, AgentConfig()))
    assert rules.open_paths == rules.any_host_paths == {"/health", "/ready"}
    assert rules.quiet_paths == {"/health", "/ready", "/metrics"}
    assert set(rules.body_limits) == {("PUT", "/upload-source")}
    assert set(rules.patterns) == {route.path for route in ROUTES}


async def test_one_declaration_is_all_that_a_route_needs() -> None:
    """It is served, described, linked to, counted, open, quiet and bounded."""
    async with World().open() as supervisor, open_apps(supervisor) as apps:
        context = attrs.evolve(
            make_context(supervisor, apps, AgentConfig()), routes=(*ROUTES, ONE, READ)
        )
        app = identify_requests(make_app(context, own_url="http://agent"))
        served = await ask(app, "GET", "/read")
        index = await ask(app, "GET", "/")
        rules = rules_of(context)
    assert served[1] == {"slug": "", "body": ""}
    assert dict(index[0]["headers"])[b"link"].decode().split(", ")[3] == (
        '<http://localhost/read>; rel="smartmob:read"; type="text/x-one"'
    )
    assert describe(context.routes, AgentConfig())["paths"]["/read"]["get"]["summary"]
    assert {"/one", "/read"} < set(rules.patterns)
    assert "/read" in rules.open_paths & rules.quiet_paths
    assert rules.body_limits["PUT", "/one"] is LIMITS


@pytest.mark.parametrize(
    ("pieces", "status", "body"),
    [
        ([b"a", b"", b"b"], 200, {"slug": "", "body": "ab"}),
        ([], 200, {"slug": "", "body": ""}),
        ([bytes(11)], 413, None),
    ],
)
async def test_the_body_of_a_streamed_route_comes_as_it_is_read(
    pieces: list[bytes], status: int, body: Any
) -> None:
    start, document = await ask_streamed(answer_with_body, pieces)
    assert start["status"] == status
    assert body in (None, document)


async def test_a_streamed_route_has_what_others_have() -> None:
    """Links, headers, and a way to cut the connection."""
    aborted = []

    async def handle(_context: ApiContext, request: Request) -> Answer:
        request.client.abort()
        return json_answer(200, {"link": request.links.to("putOne"), **request.headers})

    _, document = await ask_streamed(handle, [], abort=lambda: aborted.append(True))
    assert document == {"link": "http://localhost/one", "host": "localhost"}
    assert aborted == [True]


async def test_an_internal_error_of_a_streamed_route_is_told_as_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(_context: ApiContext, _request: Request) -> Answer:
        raise ZeroDivisionError("secret detail")

    start, document = await ask_streamed(handle, [])
    assert (start["status"], "secret" in document["detail"]) == (500, False)
    assert caplog.messages == ["request failed"]


async def ask_streamed(
    handle: Callable[[ApiContext, Request], Any],
    pieces: list[bytes],
    abort: Callable[[], None] = lambda: None,
) -> tuple[Any, Any]:
    """PUT to a streamed route; return the head of the answer and its document."""
    config = AgentConfig(http=attrs.evolve(AgentConfig().http, body_bytes=10))
    async with World(config=config).open() as supervisor, open_apps(supervisor) as apps:
        route = attrs.evolve(ONE, handle=handle, streamed=True)
        context = attrs.evolve(make_context(supervisor, apps, config), routes=(route,))
        app = identify_requests(make_app(context, own_url="http://agent"))
        return await ask(
            app, "PUT", "/one", pieces, extensions={"smartmob.client_link": ClientLink(abort=abort)}
        )


async def ask(
    app: App, method: str, path: str, pieces: list[bytes] | None = None, **changes: Any
) -> tuple[Any, Any]:
    """Return the head of an answer, and its document."""
    incoming = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces or ()
    ]
    incoming.append({"type": "http.request"})
    messages: list[Any] = []

    async def receive() -> Any:
        if not incoming:
            await trio.sleep_forever()
        return incoming.pop(0)

    async def send(message: Any) -> None:
        messages.append(message)

    scope = make_scope(path=path, method=method, query_string=b"", http_version="1.1", **changes)
    await app(scope, receive, send)
    content = b"".join(message["body"] for message in messages[1:])
    return messages[0], httpx.Response(200, content=content).json()

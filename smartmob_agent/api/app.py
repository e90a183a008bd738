"""The HTTP API: from Quart to our routes and back.  The only module that knows Quart."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map

from smartmob_agent.api import apps, control, health, metrics, openapi, processes, uploads
from smartmob_agent.api.links import SLUG, Links
from smartmob_agent.api.problem_catalogue import internal_error_detail
from smartmob_agent.api.route import (
    Answer,
    ApiContext,
    Request,
    Route,
    SocketSession,
    json_answer,
    methods_of,
    targets_of,
)
from smartmob_agent.api.streams import attach, events, logs
from smartmob_agent.errors import BadRequestError, RequestError
from smartmob_agent.http.asgi import App, Receive, Scope, Send
from smartmob_agent.http.extensions import get_client_link
from smartmob_agent.http.problems import problem, problem_of, send_problem

__all__ = ["ROUTES", "make_app"]

logger = logging.getLogger(__name__)

ROUTES: tuple[Route, ...] = (
    *processes.ROUTES,
    *logs.ROUTES,
    *attach.ROUTES,
    *control.ROUTES,
    *apps.ROUTES,
    *events.ROUTES,
    *health.ROUTES,
    *metrics.ROUTES,
    *uploads.ROUTES,
    *openapi.ROUTES,
)
"""All that an agent has; what else is to be known of them is in each of them."""

_HOST = re.compile(r"[A-Za-z0-9._~-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
"""RFC 3986, section 3.2.2, without what no host name needs."""


def make_app(context: ApiContext, *, own_url: str) -> App:
    """Make the ASGI application of one agent.

    own_url: begins the links in answers to requests which name no host themselves.

    Each scope must have a `request_id`: see `identify_requests`.
    """
    make_links = _LinkMaker(context, own_url)
    quart = _make_quart(context, make_links)
    sockets = {route.path: route for route in context.routes if route.connect is not None}
    streamed = {route.path: route for route in context.routes if route.streamed}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _serve_socket(sockets, context, scope, receive, send)
        elif (route := streamed.get(scope.get("path", ""))) is not None:
            answer = await _stream(route, context, make_links, scope, receive)
            await _send(answer, send)
        else:
            await quart(scope, receive, send)  # type: ignore[arg-type]  # ASGI, other words

    return app


class _LinkMaker:
    """Makes links as a request's client can follow them."""

    def __init__(self, context: ApiContext, own_url: str) -> None:
        self._public_url = context.config.public_url
        self._own_url = own_url
        self._targets = targets_of(context.routes)

    def __call__(self, scheme: str, host: str) -> Links:
        """Begin them as the request did.

        host: its header; empty if there is none.
        """
        base = self._public_url
        if base is None:
            base = f"{scheme}://{host}" if _HOST.fullmatch(host) else self._own_url
        return Links(base, self._targets)


# By Quart


def _make_quart(context: ApiContext, make_links: _LinkMaker) -> QuartTrio:
    app = QuartTrio("smartmob_agent", static_folder=None)
    # The connection layer has limits of its own; Quart's would cut what is meant to wait.
    app.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
    routes = {route.id: route for route in context.routes if not route.streamed}
    app.url_map = _compile(
        tuple((route.path, name, route.method) for name, route in routes.items())
    )
    for name, route in routes.items():
        app.view_functions[name] = _view(route, context, make_links)
    _add_error_handlers(app)
    return app


@lru_cache(maxsize=8)
def _compile(rules: tuple[tuple[str, str, str], ...]) -> Map:
    """Compile paths, names and methods once for all agents of a program.

    It takes Werkzeug longer than all else that it takes to make an agent.
    """
    app = QuartTrio("smartmob_agent", static_folder=None)
    app.url_map.merge_slashes = False
    for path, name, method in rules:
        app.add_url_rule(path, name, methods=[method])
    return app.url_map


def _view(
    route: Route, context: ApiContext, make_links: _LinkMaker
) -> Callable[..., Awaitable[Response]]:
    async def view(slug: str = "") -> Response:
        scope: Scope = {**request.scope}
        asked = Request(
            slug=slug,
            query=request.query_string,
            headers={name.lower(): value for name, value in request.headers.items()},
            request_id=scope["request_id"],
            links=make_links(request.scheme, request.headers.get("Host", "")),
            body=aiter(request.body),
            body_bytes=context.config.http.body_bytes,
            client=get_client_link(scope),
        )
        return _response(await route.handle(context, asked))

    return view


def _add_error_handlers(app: QuartTrio) -> None:
    @app.errorhandler(RequestError)
    async def on_request_error(error: RequestError) -> Response:
        return _response(json_answer(error.status, problem_of(error)))

    @app.errorhandler(HTTPException)
    async def on_http_error(error: HTTPException) -> Response:
        status = error.code or 500
        headers = {
            # Allow is what matters, and a set: RFC 9110, section 15.5.6.
            name: ", ".join(sorted(value.split(", "))) if name == "Allow" else value
            for name, value in error.get_headers()
            if name.lower() != "content-type"
        }
        detail = f"{request.method} {request.path}: {error.name.lower()}"
        return _response(json_answer(status, problem(status, detail), headers))

    @app.errorhandler(Exception)
    async def on_internal_error(error: Exception) -> Response:
        scope: Mapping[str, Any] = {**request.scope}
        return _response(_internal_error(error, scope["request_id"]))


def _response(answer: Answer) -> Response:
    # The body of an answer to HEAD is made and not sent, so it must have an end.
    endless = request.method == "HEAD" and not isinstance(answer.body, bytes)
    body = b"" if endless else answer.body
    return Response(body, status=answer.status, headers=dict(answer.headers))


# Beside Quart


async def _stream(
    route: Route, context: ApiContext, make_links: _LinkMaker, scope: Scope, receive: Receive
) -> Answer:
    """Answer a request whose body goes from the connection to the handler."""
    method, path = scope["method"], scope["path"]
    allow = {"Allow": ", ".join(methods_of(context.routes, path))}
    if method == "OPTIONS":
        return Answer(body=b"", headers=allow)
    if method != route.method:
        return json_answer(405, problem(405, f"{method} {path}: method not allowed"), allow)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    asked = Request(
        slug="",
        query=scope["query_string"],
        headers=headers,
        request_id=scope["request_id"],
        links=make_links(scope["scheme"], headers.get("host", "")),
        body=_StreamedBody(receive),
        body_bytes=context.config.http.body_bytes,
        client=get_client_link(scope),
    )
    try:
        return await route.handle(context, asked)
    except RequestError as error:
        return json_answer(error.status, problem_of(error))
    except Exception as error:  # noqa: BLE001  # The boundary of one request.
        return _internal_error(error, asked.request_id)


class _StreamedBody:
    """The pieces of a body, none of them empty."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    def __aiter__(self) -> _StreamedBody:
        return self

    async def __anext__(self) -> bytes:
        data = b""
        while self._more and not data:
            message = await self._receive()
            data = message.get("body", b"")
            self._more = message.get("more_body", False)
        if not data:
            raise StopAsyncIteration
        return data


async def _send(answer: Answer, send: Send) -> None:
    assert isinstance(answer.body, bytes)  # noqa: S101  # no streamed route has another one
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


class NoWebSocketError(RequestError):
    """The path is not one of a WebSocket."""

    status = 404

    def __init__(self) -> None:
        super().__init__("there is no WebSocket at this path")


async def _serve_socket(
    sockets: Mapping[str, Route], context: ApiContext, scope: Scope, receive: Receive, send: Send
) -> None:
    """Serve a WebSocket, or answer its handshake as HTTP does."""
    try:
        session = _connect(sockets, context, scope)
    except RequestError as error:
        errors = error.errors if isinstance(error, BadRequestError) else ()
        await send_problem(scope, send, error.status, str(error), errors=errors)
    else:
        await session(receive, send)


def _connect(sockets: Mapping[str, Route], context: ApiContext, scope: Scope) -> SocketSession:
    parent, slash, slug = scope["path"].rpartition("/")
    route = sockets.get(f"{parent}{slash}{SLUG}")
    if not slug or route is None or route.connect is None:
        raise NoWebSocketError
    return route.connect(context, slug, scope)


def _internal_error(error: Exception, request_id: str) -> Answer:
    """Log it; no traceback leaves the agent."""
    logger.error("request failed", exc_info=error, extra={"request_id": request_id})
    return json_answer(500, problem(500, internal_error_detail(request_id)))

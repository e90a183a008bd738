"""The HTTP API: from Quart to our routes and back.  The only module that knows Quart."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from smartmob_agent.api.attach import PATH as ATTACH_PATH, AttachConsole
from smartmob_agent.api.control import control_routes
from smartmob_agent.api.events import event_routes
from smartmob_agent.api.health import health_routes
from smartmob_agent.api.links import Links
from smartmob_agent.api.metrics import metrics_routes
from smartmob_agent.api.openapi import openapi_routes
from smartmob_agent.api.processes import process_routes
from smartmob_agent.api.route import Answer, Request, Route, json_answer
from smartmob_agent.api.uploads import METHOD as UPLOAD_METHOD, PATH as UPLOAD_PATH, UploadSource
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import RequestError
from smartmob_agent.http.asgi import App, Receive, Scope, Send
from smartmob_agent.http.problems import problem, problem_of
from smartmob_agent.metrics.agent import Metrics
from smartmob_agent.process.supervisor import Supervisor

__all__ = ["make_app"]

logger = logging.getLogger(__name__)

_HOST = re.compile(r"[A-Za-z0-9._~-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
"""RFC 3986, section 3.2.2, without what no host name needs."""


def make_app(
    supervisor: Supervisor,
    config: AgentConfig,
    *,
    own_url: str,
    metrics: Metrics | None = None,
) -> App:
    """Make the ASGI application of one agent.

    own_url: begins the links in answers to requests which name no host themselves.
    metrics: which watch `supervisor` already; by default new ones do.

    Each scope must have a `request_id`: see `identify_requests`.
    """
    if metrics is None:
        metrics = Metrics()
        metrics.watch(supervisor)
    attach, upload = AttachConsole(supervisor), UploadSource(supervisor.uploads)
    routes = (
        *process_routes(supervisor),
        *control_routes(supervisor),
        *event_routes(supervisor, life_interval=config.http.ping_interval),
        *health_routes(supervisor),
        *metrics_routes(metrics),
    )
    described = [*((route.method, route.path) for route in routes), (UPLOAD_METHOD, UPLOAD_PATH)]
    routes = (*routes, *openapi_routes(described, config))
    metrics.traffic.add_routes([f"{ATTACH_PATH}<slug>", UPLOAD_PATH])
    metrics.traffic.add_routes(route.path for route in routes)
    quart = _make_quart(routes, config, own_url)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await attach(scope, receive, send)
        elif scope.get("path") == UPLOAD_PATH:
            await upload(scope, receive, send)
        else:
            await quart(scope, receive, send)  # type: ignore[arg-type]  # ASGI, other words

    return app


def _make_quart(routes: Iterable[Route], config: AgentConfig, own_url: str) -> QuartTrio:
    app = QuartTrio("smartmob_agent", static_folder=None)
    app.url_map.merge_slashes = False
    # The connection layer has limits of its own; Quart's would cut what is meant to wait.
    app.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
    for route in routes:
        view = _view(route, config, own_url)
        app.add_url_rule(route.path, route.handle.__name__, view, methods=[route.method])
    _add_error_handlers(app)
    return app


def _view(route: Route, config: AgentConfig, own_url: str) -> Callable[..., Awaitable[Response]]:
    def links() -> Links:
        if config.public_url is not None:
            return Links(config.public_url)
        host = request.headers.get("Host", "")
        return Links(f"{request.scheme}://{host}" if _HOST.fullmatch(host) else own_url)

    async def view(slug: str = "") -> Response:
        asked = Request(
            slug=slug,
            query=request.query_string,
            headers={name.lower(): value for name, value in request.headers.items()},
            request_id=_request_id(),
            links=links(),
            body=aiter(request.body),
            body_bytes=config.http.body_bytes,
            abort=_abort_of(request.scope),
        )
        return _response(await route.handle(asked))

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
    async def on_defect(error: Exception) -> Response:
        request_id = _request_id()
        logger.error("request failed", exc_info=error, extra={"request_id": request_id})
        detail = f"a defect of the agent: its log says more of request {request_id}"
        return _response(json_answer(500, problem(500, detail)))


def _abort_of(scope: Mapping[str, Any]) -> Callable[[], None]:
    """Return the server's way to cut a connection."""
    abort: Callable[[], None] = scope.get("extensions", {}).get("smartmob.abort", lambda: None)
    return abort


def _request_id() -> str:
    scope: Mapping[str, Any] = {**request.scope}
    return str(scope["request_id"])  # From `identify_requests`.


def _response(answer: Answer) -> Response:
    # The body of an answer to HEAD is made and not sent, so it must have an end.
    endless = request.method == "HEAD" and not isinstance(answer.body, bytes)
    body = b"" if endless else answer.body
    return Response(body, status=answer.status, headers=dict(answer.headers))

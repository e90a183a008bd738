"""The HTTP API: request → typed call → document."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from smartmob_agent.config import AgentConfig
from smartmob_agent.errors import BodyTooLargeError, RequestError
from smartmob_agent.http.asgi import App, Receive, Scope, Send
from smartmob_agent.http.attach import PATH as ATTACH_PATH
from smartmob_agent.http.attach import AttachConsole
from smartmob_agent.http.console_log import FORMATS, FollowedLog, read_log
from smartmob_agent.http.console_query import parse_console_query
from smartmob_agent.http.documents import (
    Links,
    parse_create_request,
    parse_empty_request,
    process_status,
)
from smartmob_agent.http.problems import MEDIA_TYPE, problem, problem_of
from smartmob_agent.process.supervisor import Supervisor

__all__ = ["make_app"]

logger = logging.getLogger(__name__)

_EVERYTHING = sys.maxsize
"""As many lines as the console keeps."""
_HOST = re.compile(r"[A-Za-z0-9._~-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
"""RFC 3986, section 3.2.2, without what no host name needs."""


def make_app(supervisor: Supervisor, config: AgentConfig, *, own_url: str) -> App:
    """Make the ASGI application of one agent.

    own_url: begins the links in answers to requests which name no host themselves.

    Each scope must have a `request_id`: see `identify_requests`.
    """
    attach = AttachConsole(supervisor)
    quart = _make_quart(supervisor, config, own_url)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await attach(scope, receive, send)
        else:
            await quart(scope, receive, send)  # type: ignore[arg-type]  # ASGI, other words

    return app


def _make_quart(supervisor: Supervisor, config: AgentConfig, own_url: str) -> QuartTrio:
    app = QuartTrio("smartmob_agent", static_folder=None)
    app.url_map.merge_slashes = False
    # The connection layer has limits of its own; Quart's would cut what is meant to wait.
    app.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
    _add_routes(app, supervisor, config, own_url)
    _add_error_handlers(app)
    return app


def _add_routes(app: QuartTrio, supervisor: Supervisor, config: AgentConfig, own_url: str) -> None:
    def links() -> Links:
        if config.public_url is not None:
            return Links(config.public_url)
        host = request.headers.get("Host", "")
        return Links(f"{request.scheme}://{host}" if _HOST.fullmatch(host) else own_url)

    async def read_body() -> bytes:
        body = bytearray()
        async for data in request.body:
            body += data
            if len(body) > config.http.body_bytes:
                raise BodyTooLargeError(config.http.body_bytes)
        return bytes(body)

    @app.get("/")
    async def index() -> Response:
        return _answer(200, {"create": links().create, "list": links().list})

    @app.get("/list-processes")
    async def list_processes() -> Response:
        base = links()
        return _answer(
            200, {"processes": [process_status(process, base) for process in supervisor]}
        )

    @app.post("/create-process")
    async def create_process() -> Response:
        body = await read_body()
        spec = parse_create_request(body, request_id=_request_id())
        status = process_status(supervisor.create(spec), links())
        return _answer(201, status, {"Location": status["details"]})

    @app.get("/process-status/<slug>")
    async def process_details(slug: str) -> Response:
        return _answer(200, process_status(supervisor.get(slug), links()))

    @app.post("/delete-process/<slug>")
    async def delete_process(slug: str) -> Response:
        parse_empty_request(await read_body())
        await supervisor.delete(slug)
        return _answer(200, {})

    @app.get("/process-log/<slug>")
    async def process_log(slug: str) -> Response:
        console = supervisor.get(slug).console
        query = parse_console_query(request.query_string, formats=list(FORMATS), can_follow=True)
        cursor = query.subscribe(console, tail=_EVERYTHING)
        headers = {"Content-Type": FORMATS[query.format], "Cache-Control": "no-store"}
        if query.follow:
            log = FollowedLog(console, cursor, query.format, _abort_of(request.scope))
            return Response(log, headers=headers)
        body, missed = read_log(cursor, query.format)
        return Response(body, headers={**headers, "Lines-Missed": str(missed)})

    @app.get(f"{ATTACH_PATH}<slug>")
    async def attach_without_upgrade(slug: str) -> Response:
        supervisor.get(slug)
        detail = "expected a WebSocket handshake, found a plain GET"
        return _answer(426, problem(426, detail), {"Upgrade": "websocket", "Connection": "Upgrade"})


def _add_error_handlers(app: QuartTrio) -> None:
    @app.errorhandler(RequestError)
    async def on_request_error(error: RequestError) -> Response:
        return _answer(error.status, problem_of(error))

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
        return _answer(status, problem(status, detail), headers)

    @app.errorhandler(Exception)
    async def on_defect(error: Exception) -> Response:
        request_id = _request_id()
        logger.error("request failed", exc_info=error, extra={"request_id": request_id})
        detail = f"a defect of the agent: its log says more of request {request_id}"
        return _answer(500, problem(500, detail))


def _abort_of(scope: Mapping[str, Any]) -> Callable[[], None]:
    """Return the server's way to cut a connection."""
    abort: Callable[[], None] = scope.get("extensions", {}).get("smartmob.abort", lambda: None)
    return abort


def _request_id() -> str:
    scope: Mapping[str, Any] = {**request.scope}
    return str(scope["request_id"])  # From `identify_requests`.


def _answer(
    status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    media_type = MEDIA_TYPE if status >= 400 else "application/json"
    return Response(
        json.dumps(document), status=status, headers=dict(headers or {}), content_type=media_type
    )

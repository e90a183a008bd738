"""The routes of processes: each a request, a typed call and a document."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from smartmob_agent.api.attach import PATH as ATTACH_PATH
from smartmob_agent.api.console_query import LOG_OPTIONS, parse_console_query
from smartmob_agent.api.documents import (
    parse_create_request,
    parse_empty_request,
    process_status,
)
from smartmob_agent.api.logs import FORMATS, FollowedLog, KeptLog
from smartmob_agent.api.operations import OPENAPI_TYPE
from smartmob_agent.api.route import Answer, Request, Route, json_answer
from smartmob_agent.http.problems import problem
from smartmob_agent.process.supervisor import Supervisor

__all__ = ["process_routes"]

UPLOAD_RELATION = "smartmob:upload-source"
"""A relation that is not registered is named by a URI: RFC 8288, section 2.1.2."""
METRICS_RELATION = "smartmob:metrics"

_EVERYTHING = sys.maxsize
"""As many lines as the console keeps."""


def process_routes(supervisor: Supervisor) -> Sequence[Route]:
    """Return the routes by which processes are made, seen and deleted."""

    async def index(request: Request) -> Answer:
        links = request.links
        further = (
            f'<{links.description}>; rel="service-desc"; type="{OPENAPI_TYPE}", '  # RFC 8631
            f'<{links.metrics}>; rel="{METRICS_RELATION}"; type="text/plain", '
            f'<{links.upload}>; rel="{UPLOAD_RELATION}"'
        )
        return json_answer(200, {"create": links.create, "list": links.list}, {"Link": further})

    async def list_processes(request: Request) -> Answer:
        statuses = [process_status(process, request.links) for process in supervisor]
        return json_answer(200, {"processes": statuses})

    async def create(request: Request) -> Answer:
        body = await request.read_body()
        spec = parse_create_request(body, request_id=request.request_id)
        status = process_status(supervisor.create(spec), request.links)
        return json_answer(201, status, {"Location": status["details"]})

    async def show(request: Request) -> Answer:
        return json_answer(200, process_status(supervisor.get(request.slug), request.links))

    async def delete(request: Request) -> Answer:
        parse_empty_request(await request.read_body())
        await supervisor.delete(request.slug)
        return json_answer(200, {})

    async def show_log(request: Request) -> Answer:
        console = supervisor.get(request.slug).console
        query = parse_console_query(request.query, LOG_OPTIONS)
        cursor = query.subscribe(console, tail=_EVERYTHING)
        headers = {
            "Content-Type": FORMATS[query.format],
            "Cache-Control": "no-store",
            "First-Line": str(cursor.next_number + cursor.gap),
            "Lines-Missed": str(cursor.gap),
        }
        if query.follow:
            log = FollowedLog(console, cursor, query.format, request.abort)
            return Answer(body=log, headers=headers)
        return Answer(body=KeptLog(cursor, query.format), headers=headers)

    async def attach_without_upgrade(request: Request) -> Answer:
        supervisor.get(request.slug)
        document = problem(426, "expected a WebSocket handshake, found a plain GET")
        return json_answer(426, document, {"Upgrade": "websocket", "Connection": "Upgrade"})

    return (
        Route("GET", "/", index),
        Route("GET", "/list-processes", list_processes),
        Route("POST", "/create-process", create),
        Route("GET", "/process-status/<slug>", show),
        Route("POST", "/delete-process/<slug>", delete),
        Route("GET", "/process-log/<slug>", show_log),
        Route("GET", f"{ATTACH_PATH}<slug>", attach_without_upgrade),
    )

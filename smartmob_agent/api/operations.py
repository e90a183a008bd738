"""Each operation of the HTTP API, as its description tells it.  Pure.

What parameters and fields may be stands where they are checked; here is what they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartmob_agent.api.console_query import ATTACH_OPTIONS, LOG_OPTIONS
from smartmob_agent.api.control import RESTART_OPTIONS
from smartmob_agent.api.events import EVENT_OPTIONS
from smartmob_agent.api.logs import FORMATS
from smartmob_agent.api.operation import JSON, Body, Operation, Reply
from smartmob_agent.api.query import TEXT, QueryOption
from smartmob_agent.api.schema_parts import ref

__all__ = ["OPENAPI_TYPE", "OPERATIONS", "TAGS"]

OPENAPI_TYPE = "application/vnd.oai.openapi+json"

TAGS = {
    "processes": "Make, see and delete processes.",
    "control": "Start again, send signals.",
    "output": "What children write.",
    "agent": "The agent itself.",
}


def _json(about: str, name: str, **more: Any) -> Reply:
    return Reply(about, {JSON: ref(name)}, **more)


_EMPTY = Body(schema=ref("Nothing"), required=False)
_OF_SLUG = {"slug": "$response.body#/slug"}
_TEXT = {"type": "string"}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/"): Operation(
        id="index",
        tag="agent",
        summary="Find out where to create and list processes",
        about="What else there is stands in `Link` headers.",
        replies={200: _json("The two places.", "Index", headers=("Link",))},
    ),
    ("GET", "/list-processes"): Operation(
        id="listProcesses",
        tag="processes",
        summary="List all processes",
        replies={200: _json("All of them.", "ProcessList")},
    ),
    ("POST", "/create-process"): Operation(
        id="createProcess",
        tag="processes",
        summary="Create a process",
        about="It is `pending` at first; what follows is seen in its status.",
        body=Body(schema=ref("CreateRequest")),
        replies={
            201: _json(
                "It is on its way.",
                "ProcessStatus",
                headers=("Location",),
                links=dict.fromkeys(
                    (
                        "getProcess",
                        "getLog",
                        "attachConsole",
                        "restartProcess",
                        "signalProcess",
                        "deleteProcess",
                    ),
                    _OF_SLUG,
                ),
            )
        },
        problems=("SlugInUse", "Stopping"),
    ),
    ("GET", "/process-status/<slug>"): Operation(
        id="getProcess",
        tag="processes",
        summary="Look at a process",
        replies={200: _json("Its status.", "ProcessStatus")},
        problems=("NotFound",),
    ),
    ("POST", "/delete-process/<slug>"): Operation(
        id="deleteProcess",
        tag="processes",
        summary="Delete a process",
        about="In every state.  It goes on if the client goes away.",
        body=_EMPTY,
        replies={200: _json("The whole tree is gone, and its files are removed.", "Nothing")},
        problems=("NotFound",),
    ),
    ("GET", "/process-log/<slug>"): Operation(
        id="getLog",
        tag="output",
        summary="Read the output of a process",
        about=(
            "What the agent still has of it and, with `follow`, what comes.  Each line of "
            "`application/x-ndjson` is a `LogRecord`."
        ),
        query=LOG_OPTIONS,
        replies={
            200: Reply(
                "The lines.",
                {
                    media_type.partition(";")[0]: ref("Log") if form == "json" else _TEXT
                    for form, media_type in FORMATS.items()
                },
                headers=("First-Line", "Lines-Missed", "Cache-Control"),
            )
        },
        problems=("NotFound",),
    ),
    ("GET", "/attach-console/<slug>"): Operation(
        id="attachConsole",
        tag="output",
        summary="Follow the output of a process live, by a WebSocket",
        about="One text message for each line or, with `format=json`, for each `LogRecord`.",
        query=ATTACH_OPTIONS,
        replies={101: Reply("The socket is open, and misses no line from here on.")},
        problems=("NotFound", "UpgradeRequired"),
    ),
    ("POST", "/restart-process/<slug>"): Operation(
        id="restartProcess",
        tag="control",
        summary="Start a process again, now",
        about="A child that runs is ended first.  It goes on if the client goes away.",
        query=RESTART_OPTIONS,
        body=_EMPTY,
        replies={
            200: _json("With `wait=1`: what has become of it.", "ProcessStatus"),
            202: _json("It is under way.", "ProcessStatus"),
        },
        problems=("NotFound", "WrongState"),
    ),
    ("POST", "/signal-process/<slug>"): Operation(
        id="signalProcess",
        tag="control",
        summary="Send a signal to the process group of the child",
        body=Body(schema=ref("SignalRequest")),
        replies={200: _json("It was sent.", "Nothing")},
        problems=("NotFound", "WrongState"),
    ),
    ("GET", "/events"): Operation(
        id="readEvents",
        tag="processes",
        summary="Hear what happens to processes, as it happens",
        about=(
            "Server-Sent Events; the schema is that of each one.  An `id` alone is a sign of life."
        ),
        query=EVENT_OPTIONS,
        headers={
            "Last-Event-ID": QueryOption(
                kind=TEXT, about="Go on behind this event, without a snapshot."
            )
        },
        replies={
            200: Reply(
                "They go on.", {"text/event-stream": ref("ServerEvent")}, headers=("Cache-Control",)
            )
        },
    ),
    ("PUT", "/upload-source"): Operation(
        id="uploadSource",
        tag="processes",
        summary="Bring an archive to an agent that cannot download it",
        body=Body(schema={}, media_type="application/octet-stream"),
        replies={201: _json("It is there, under a name.", "Upload", headers=("Location",))},
        problems=("UnprocessableContent", "Stopping", "InsufficientStorage"),
    ),
    ("GET", "/health"): Operation(
        id="getHealth",
        tag="agent",
        summary="Learn whether the agent lives",
        replies={200: _json("It does.", "Health", headers=("Cache-Control",))},
    ),
    ("GET", "/ready"): Operation(
        id="getReady",
        tag="agent",
        summary="Learn whether the agent takes new processes",
        replies={200: _json("It does.", "Ready", headers=("Cache-Control",))},
        problems=("Stopping",),
    ),
    ("GET", "/metrics"): Operation(
        id="getMetrics",
        tag="agent",
        summary="Read the metrics, as Prometheus does",
        replies={
            200: Reply(
                "The metrics.",
                {"text/plain": _TEXT, "application/openmetrics-text": _TEXT},
                headers=("Cache-Control",),
            )
        },
    ),
    ("GET", "/openapi.json"): Operation(
        id="getDescription",
        tag="agent",
        summary="Read this description",
        headers={"If-None-Match": QueryOption(kind=TEXT, about="An `ETag` that is known already.")},
        replies={
            200: Reply(
                "It.", {OPENAPI_TYPE: {"type": "object"}}, headers=("ETag", "Cache-Control")
            ),
            304: Reply("It is as it was.", headers=("ETag", "Cache-Control")),
        },
    ),
}
"""Method and path → operation."""

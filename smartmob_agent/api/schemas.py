"""JSON Schemas of the documents of the HTTP API.  Pure.

Those of requests are made of the classes that check them.  Those of answers stand here; the
tests hold each answer that they see against them, with no field more and none less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartmob_agent.api.documents import CreateRequest, SignalRequest
from smartmob_agent.api.kinds import SLUG_PATTERN
from smartmob_agent.api.schema_parts import (
    Schema,
    count,
    document,
    or_null,
    ref,
    request_schema,
    text,
    time,
    url,
)
from smartmob_agent.output.batch import Stream
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.states import State

__all__ = ["SCHEMAS", "SLUG"]


SLUG = text("`app`, a dot and `node`.", pattern=SLUG_PATTERN)
_PROCESS: Mapping[str, Any] = {
    "app": text("As in the create request."),
    "node": text("As in the create request."),
    "process_type": text("As in the create request."),
    "slug": SLUG,
}
_SHA256 = text(pattern="^[0-9a-f]{64}$")
_PID = {"type": "integer", "description": "Of a child.", "minimum": 1}
_CHILD: Mapping[str, Any] = {
    "pid": or_null({**_PID, "description": "Of the child that runs."}),
    "restarts": count("Starts after the first."),
    "exit": or_null(ref("Exit")),
    "error": or_null(text("What keeps it from running: one line for a human.")),
    "started_at": or_null(time("When the latest child was started")),
    "next_start_at": or_null(time("In `backoff`: when the next child is started")),
}


def _event(kind: str, name: str, *, numbered: bool) -> Schema:
    """A server-sent event: what it holds is text, and JSON in that."""
    properties: dict[str, Any] = {
        "event": {"const": kind},
        "data": text(contentMediaType="application/json", contentSchema=ref(name)),
    }
    if numbered:
        properties["id"] = text("Of the event; what comes next has a greater one.")
    return document(f"`{kind}`", **properties)


SCHEMAS: Mapping[str, Schema] = {
    "Index": document(
        "Where processes are created and listed.",
        create=url("POST a `CreateRequest` there."),
        list=url("GET a `ProcessList` there."),
    ),
    "CreateRequest": request_schema(CreateRequest),
    "SignalRequest": request_schema(SignalRequest),
    "Nothing": {"type": "object", "description": "Nothing to say.", "maxProperties": 0},
    "State": text(
        "Where a process is in its life.",
        enum=[state.value for state in State if state is not State.GONE],
    ),
    "Exit": {
        "description": "How a child ended: by itself or by a signal.",
        "oneOf": [
            document("By itself.", code=count("Its exit code.", maximum=255)),
            document("By a signal.", signal=text("Such as `SIGKILL`.")),
        ],
    },
    "ProcessStatus": document(
        "What can be seen of a process.",
        **_PROCESS,
        state=ref("State"),
        attach=url("Its attach socket, a WebSocket."),
        details=url("Its status."),
        status=url("The same as `details`."),
        delete=url("POST there to delete it."),
        created_at=time("When it was created"),
        **_CHILD,
        containment=text(
            "What is promised of the tree of a child if the agent is killed.",
            enum=["group", "tree", "cgroup", "pid-namespace"],
        ),
        source_sha256=or_null({**_SHA256, "description": "Digest of the archive that runs."}),
        download=or_null(ref("Download")),
    ),
    "Download": document(
        "How far a download has come.",
        received=count("Bytes."),
        total=or_null(count("Bytes; null if its server does not tell.")),
    ),
    "ProcessList": document(
        "All processes, in the order of their creation.",
        processes={"type": "array", "items": ref("ProcessStatus")},
    ),
    "Upload": document(
        "An archive that was uploaded.",
        source_url=url("What a create request can name."),
        sha256=_SHA256,
        size=count("Bytes."),
    ),
    "Log": document(
        "What the agent still has of the output.",
        records={"type": "array", "items": ref("LogRecord")},
    ),
    "LogRecord": {
        "description": "A line, or what happened to the process between two lines.",
        "oneOf": [
            document(
                "A line.",
                seq=count("Its number, from 1 for the life of the process.", minimum=1),
                time=time("When it came"),
                stream=text(enum=[stream.value for stream in Stream]),
                line=text("Without its line end."),
            ),
            document(
                "A child was started.",
                event={"const": "started"},
                time=time("When"),
                pid=_PID,
            ),
            document(
                "A child ended; its last line came before.",
                optional=("code", "signal"),
                event={"const": "exited"},
                time=time("When"),
                pid=_PID,
                code=count("Its exit code, if it ended by itself.", maximum=255),
                signal=text("The signal that ended it."),
            ),
            document(
                "The reader was too slow, or the lines too old.",
                event={"const": "dropped"},
                lines=count("So many are gone.", minimum=1),
            ),
            document(
                "Nothing comes any more.",
                event={"const": "end"},
                reason=text(enum=[end.value for end in ConsoleEnd]),
            ),
        ],
    },
    "Snapshot": document(
        "Data of the event `snapshot`: all that is.",
        seq=count("The number of the latest event."),
        processes={"type": "array", "items": ref("ProcessStatus")},
    ),
    "StateEvent": document(
        "Data of the event `state`: a step of a process.",
        seq=count("Its number, which is its `id`, too."),
        time=time("When"),
        **_PROCESS,
        previous=or_null(ref("State")),
        state=text(enum=[state.value for state in State]),
        **_CHILD,
    ),
    "Gap": document(
        "Data of the event `gap`: events are gone.",
        missed=or_null(count("How many; null where nobody knows.")),
    ),
    "End": document("Data of the event `end`: nothing comes any more.", reason={"const": "agent"}),
    "ServerEvent": {
        "description": "One of the events, as the HTML Living Standard has them in section 9.2.",
        "oneOf": [
            _event("snapshot", "Snapshot", numbered=True),
            _event("state", "StateEvent", numbered=True),
            _event("gap", "Gap", numbered=False),
            _event("end", "End", numbered=False),
        ],
    },
    "Health": document("The agent lives.", status={"const": "alive"}),
    "Ready": document("The agent takes new processes.", status={"const": "ready"}),
    "Problem": document(
        "What went wrong: RFC 9457.",
        optional=("errors",),
        type={"const": "about:blank", "description": "The status says it all."},
        title=text("The phrase of the status."),
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail=text("What was expected and found: one line for a human."),
        errors={
            "type": "array",
            "description": "One line for each fault of the request.",
            "items": text(),
            "minItems": 1,
        },
    ),
}
"""Name → schema, of each document that is sent or taken."""

"""The documents about processes: JSON in, checked strictly and once; JSON out.

A field of a document is one attribute, which tells its schema, its example and its value.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar, cast

import attrs
from cattrs import BaseValidationError, Converter, transform_error

from smartmob_agent.api.kinds import (
    KINDS,
    BuildMode,
    Digest,
    Name,
    SignalName,
    SourceUrl,
    Text,
    ValueKind,
    VariableName,
    VariableValue,
    json_path,
    parse_object,
)
from smartmob_agent.api.links import Links
from smartmob_agent.api.schemas import (
    EXAMPLE_DIGEST,
    EXAMPLE_SLUG,
    EXAMPLE_TIME,
    NO_EXAMPLE,
    SHA256,
    SLUG_SCHEMA,
    Document,
    Field,
    Schema,
    count,
    document,
    document_of,
    field_of,
    or_null,
    request_of,
    text,
    time,
    told,
    url,
)
from smartmob_agent.errors import BadRequestError
from smartmob_agent.output.batch import rfc3339
from smartmob_agent.process.lifecycle import ProcessView
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.process.states import State

__all__ = [
    "CREATE_REQUEST",
    "EVENT_FIELDS",
    "NOTHING",
    "PID",
    "PROCESS_STATUS",
    "SIGNAL_REQUEST",
    "STATE",
    "CreateRequest",
    "ProcessStatus",
    "SignalRequest",
    "event_record",
    "parse_create_request",
    "parse_empty_request",
    "parse_signal_request",
    "process_status",
]


def _asked(about: str, example: object = NO_EXAMPLE) -> Mapping[str, Field]:
    """Of a field of a request; its type says what it may be."""
    return told(Field(about=about, example=example))


@attrs.frozen(kw_only=True)
class CreateRequest:
    """What is to run, and where it comes from."""

    app: Name = attrs.field(metadata=_asked("With a dot and `node` it is the slug.", "hello"))
    node: Name = attrs.field(
        metadata=_asked("The slug must be unique; `app` need not be.", "web.0")
    )
    process_type: Text = attrs.field(metadata=_asked("A type of the Procfile.", "web"))
    source_url: SourceUrl = attrs.field(
        metadata=_asked(
            "Where the archive is: http, https, or the name that an upload got.  "
            "Credentials in it are used and never shown.",
            "http://127.0.0.1:8000/hello-python.tar.gz",
        )
    )
    source_sha256: Digest | None = attrs.field(
        default=None, metadata=_asked("The SHA-256 digest that the archive must have.")
    )
    env: dict[VariableName, VariableValue] = attrs.field(
        factory=dict, metadata=_asked("Variables for the environment of the child; never shown.")
    )
    build: BuildMode = attrs.field(
        default=BuildMode("auto"),
        metadata=_asked("Whether what the app needs is installed, if there is a builder for it."),
    )


@attrs.frozen(kw_only=True)
class SignalRequest:
    """Which signal to send."""

    signal: SignalName = attrs.field(
        metadata=_asked("Its name, with or without `SIG`; numbers are not taken.", "HUP")
    )


CREATE_REQUEST = request_of(CreateRequest)
SIGNAL_REQUEST = request_of(SignalRequest)
NOTHING = Document(
    name="Nothing",
    schema={"type": "object", "description": "Nothing to say.", "maxProperties": 0},
)
STATE = Document(
    name="State",
    schema=text(
        "Where a process is in its life.",
        enum=[state.value for state in State if state is not State.GONE],
    ),
)
_EXIT = Document(
    name="Exit",
    schema={
        "description": "How a child ended: by itself or by a signal.",
        "oneOf": [
            document("By itself.", code=count("Its exit code.", maximum=255)),
            document("By a signal.", signal=text("Such as `SIGKILL`.")),
        ],
    },
)
_DOWNLOAD = Document(
    name="Download",
    schema=document(
        "How far a download has come.",
        received=count("Bytes."),
        total=or_null(count("Bytes; null if its server does not tell.")),
    ),
)
_BUILD = Document(
    name="Build",
    schema=document(
        "What the app was built by.",
        builder=text("The name of the builder."),
        cached={
            "type": "boolean",
            "description": "Whether it was built before, or for another process.",
        },
        seconds={"type": "number", "description": "That the build took.", "minimum": 0},
    ),
)
PID: Schema = {"type": "integer", "description": "Of a child.", "minimum": 1}


def _seen(schema: Schema | Document, example: object, read: Callable[[ProcessView], object]) -> Any:
    """A field that events have, too: it changes with the state, or says which process it is."""
    field = Field(schema=schema, example=example, read=read, in_events=True)
    return attrs.field(metadata=told(field))


def _shown(
    schema: Schema | Document, example: object, read: Callable[[ManagedProcess], object]
) -> Any:
    """A field of the status alone."""
    return attrs.field(metadata=told(Field(schema=schema, example=example, read=read)))


def _link(about: str, operation: str) -> Any:
    """A link to an operation on the process."""
    return attrs.field(metadata=told(Field(schema=url(about), link=operation)))


@functools.lru_cache(maxsize=4096)
def _time(moment: datetime | None) -> str | None:
    """RFC 3339; kept, since lists and events tell the same few times again and again."""
    return None if moment is None else rfc3339(moment)


@attrs.frozen(kw_only=True)
class ProcessStatus:
    """What can be seen of a process."""

    app: str = _seen(text("As in the create request."), "hello", lambda view: view.spec.app)
    node: str = _seen(text("As in the create request."), "web.0", lambda view: view.spec.node)
    process_type: str = _seen(
        text("As in the create request."), "web", lambda view: view.spec.process_type
    )
    slug: str = _seen(SLUG_SCHEMA, EXAMPLE_SLUG, lambda view: view.spec.slug)
    state: str = _seen(STATE, "running", lambda view: view.state.value)
    attach: str = _link("Its attach socket, a WebSocket.", "attachConsole")
    details: str = _link("Its status.", "getProcess")
    status: str = _link("The same as `details`.", "getProcess")
    delete: str = _link("POST there to delete it.", "deleteProcess")
    pid: int | None = _seen(
        or_null({**PID, "description": "Of the child that runs."}), 1000, lambda view: view.pid
    )
    restarts: int = _seen(count("Starts after the first."), 0, lambda view: view.restarts)
    created_at: str = _shown(
        time("When it was created"), EXAMPLE_TIME, lambda process: _time(process.created_at)
    )
    started_at: str | None = _seen(
        or_null(time("When the latest child was started")),
        EXAMPLE_TIME,
        lambda view: _time(view.started_at),
    )
    exit: Mapping[str, object] | None = _seen(
        or_null(_EXIT), None, lambda view: view.exit and view.exit.record
    )
    error: str | None = _seen(
        or_null(text("What keeps it from running: one line for a human.")),
        None,
        lambda view: view.error,
    )
    next_start_at: str | None = _seen(
        or_null(time("In `backoff`: when the next child is started")),
        None,
        lambda view: _time(view.next_start_at),
    )
    containment: str = _shown(
        text(
            "What is promised of the tree of a child if the agent is killed.",
            enum=["group", "tree", "cgroup", "pid-namespace"],
        ),
        "tree",
        lambda process: process.containment,
    )
    source_sha256: str | None = _shown(
        or_null({**SHA256, "description": "Digest of the archive that runs."}),
        EXAMPLE_DIGEST,
        lambda process: process.files.source.sha256,
    )
    download: Mapping[str, int | None] | None = _shown(
        or_null(_DOWNLOAD),
        None,
        lambda process: (
            process.files.source.download and attrs.asdict(process.files.source.download)
        ),
    )
    build: Mapping[str, object] | None = _shown(
        or_null(_BUILD),
        None,
        lambda process: process.files.build and attrs.asdict(process.files.build),
    )


PROCESS_STATUS = document_of(ProcessStatus)

Read = Callable[[Any], object]
_STATUS_FIELDS: tuple[tuple[str, Read, str], ...] = tuple(
    (one.name, cast("Read", field_of(one).read), field_of(one).link)
    for one in attrs.fields(ProcessStatus)
)
"""Name, how it is read and the operation that it links to, if it does.

Looked up once: a list has many processes.
"""
_EVENT_FIELDS = tuple(
    (one.name, cast("Read", field_of(one).read))
    for one in attrs.fields(ProcessStatus)
    if field_of(one).in_events
)
EVENT_FIELDS: Mapping[str, Schema | Document] = {
    one.name: field_of(one).schema for one in attrs.fields(ProcessStatus) if field_of(one).in_events
}
"""Name → schema, of what each event of a process has of its status."""


def process_status(process: ManagedProcess, links: Links) -> dict[str, Any]:
    """Return what can be seen of a process; neither its `env` nor its source URL are part of it."""
    slug = process.slug
    return {
        name: links.to(link, slug) if link else read(process) for name, read, link in _STATUS_FIELDS
    }


def event_record(view: ProcessView) -> dict[str, Any]:
    """Return what each event of a process has of its status."""
    return {name: read(view) for name, read in _EVENT_FIELDS}


DocumentT = TypeVar("DocumentT", CreateRequest, SignalRequest)


def parse_create_request(body: bytes, *, request_id: str) -> ProcessSpec:
    """Check the body of a create request.

    Raises `BadRequestError`, with one line for each field that is not as it must be.
    """
    request = _parse_document(body, CreateRequest, "create")
    return ProcessSpec(
        app=request.app,
        node=request.node,
        process_type=request.process_type,
        source_url=request.source_url,
        source_sha256=request.source_sha256,
        env={str(name): str(value) for name, value in request.env.items()},
        build="auto" if request.build == "auto" else "never",
        request_id=request_id,
    )


def parse_signal_request(body: bytes) -> signal.Signals:
    """Check the body of a signal request; return the signal, or raise `BadRequestError`."""
    return signal.Signals[_parse_document(body, SignalRequest, "signal").signal]


def parse_empty_request(body: bytes) -> None:
    """Check a body that says nothing: empty, or an empty object; else `BadRequestError`."""
    if body.strip() and (data := parse_object(body)):
        errors = [f"unknown field @ {json_path('$', key)}" for key in data]
        raise BadRequestError("expected an empty body or {}", errors)


def _parse_document(body: bytes, kind: type[DocumentT], name: str) -> DocumentT:
    data = parse_object(body)
    fields = attrs.fields_dict(kind)
    errors = [f"unknown field @ {json_path('$', key)}" for key in data if key not in fields]
    try:
        parsed = _converter.structure({key: data[key] for key in data if key in fields}, kind)
    except BaseValidationError as exc:
        errors = transform_error(exc, format_exception=_describe) + errors
    if errors:
        raise BadRequestError(f"the {name} request is not valid", errors)
    return parsed


def _describe(exc: BaseException, _type: object) -> str:
    if isinstance(exc, KeyError):
        return "required field missing"
    if isinstance(exc, AttributeError):  # It was asked for its items.
        return "expected an object"
    return str(exc)


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    for kind, known in KINDS.items():
        # What may be left out has no other form in which it says nothing, such as null.
        for type_ in (kind, kind | None):
            converter.register_structure_hook(type_, _hook(known))
    return converter


def _hook(known: ValueKind) -> Callable[[object, type], Any]:
    def structure(value: object, _type: type) -> Any:
        return known.check(value)

    return structure


_converter = _make_converter()

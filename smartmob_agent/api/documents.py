"""The documents about processes: JSON in, checked strictly and once; JSON out.

A field of a document is one attribute, which tells its schema, its example and its value.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import attrs
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn

from smartmob_agent.api.kinds import (
    KINDS,
    BuildMode,
    Count,
    CountOrZero,
    Digest,
    HttpPath,
    Line,
    Memory,
    Name,
    OrderKind,
    Pattern,
    Port,
    Restart,
    RootPath,
    Seconds,
    SignalName,
    SourceUrl,
    StopTo,
    Text,
    ValueKind,
    VariableName,
    VariableValue,
    Weight,
    Yes,
    json_name,
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
    exactly_one,
    field_of,
    or_null,
    request_of,
    text,
    time,
    told,
    url,
)
from smartmob_agent.child.seam import ResourceLimits
from smartmob_agent.errors import BadRequestError
from smartmob_agent.output.batch import rfc3339
from smartmob_agent.process.crash import CRASH_LINES
from smartmob_agent.process.lifecycle import ProcessView
from smartmob_agent.process.policies import PortWish, Readiness, RestartPolicy, StopPolicy
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.replacement import Order, Replacement
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.process.states import State
from smartmob_agent.source.app.environment import check_exec_size

__all__ = [
    "CREATE_REQUEST",
    "EVENT_FIELDS",
    "NOTHING",
    "PID",
    "PROCESS_STATUS",
    "RELEASE",
    "REPLACE_REQUEST",
    "SIGNAL_REQUEST",
    "STATE",
    "CreateRequest",
    "PolicyRequest",
    "ProcessStatus",
    "ReplaceRequest",
    "SignalRequest",
    "VersionRequest",
    "add_request",
    "check_env",
    "event_record",
    "parse_create_request",
    "parse_document",
    "parse_empty_request",
    "parse_replace_request",
    "parse_signal_request",
    "policies_of",
    "process_status",
]


def _asked(about: str, example: object = NO_EXAMPLE) -> Mapping[str, Field]:
    """Of a field of a request; its type says what it may be."""
    return told(Field(about=about, example=example))


@attrs.frozen(kw_only=True)
class ReadyRequest:
    """When a start counts as good."""

    EXACTLY_ONE: ClassVar = ("port", "http", "log", "notify", "after")

    port: Yes | None = attrs.field(
        default=None, metadata=_asked("Its port accepts a TCP connection.", example=True)
    )
    http: HttpPath | None = attrs.field(
        default=None,
        metadata=_asked("A GET of this path at its port is answered with a status of 200 to 399."),
    )
    log: Pattern | None = attrs.field(
        default=None,
        metadata=_asked("A line of its output has a match of this regular expression, of Python."),
    )
    notify: Yes | None = attrs.field(
        default=None, metadata=_asked("It says READY=1 at NOTIFY_SOCKET, as sd_notify(3) does.")
    )
    after: Seconds | None = attrs.field(
        default=None, metadata=_asked("It has run for so many seconds.")
    )
    timeout: Seconds = attrs.field(
        default=Seconds(60.0),
        metadata=_asked("Seconds after which `error` says that it is not ready; it goes on."),
    )
    interval: Seconds = attrs.field(
        default=Seconds(1.0), metadata=_asked("Seconds between two probes of a port or path.")
    )


@attrs.frozen(kw_only=True)
class StopRequest:
    """How the child is asked to end."""

    signal: SignalName = attrs.field(
        default=SignalName("SIGTERM"), metadata=_asked("What it is sent.", "INT")
    )
    timeout: Seconds | None = attrs.field(
        default=None,
        metadata=_asked("Seconds from that to SIGKILL; by default the agent's `--stop-timeout`."),
    )
    to: StopTo = attrs.field(
        default=StopTo("group"),
        metadata=_asked("All of its process group, or the app alone, which sees to the rest."),
    )


@attrs.frozen(kw_only=True)
class LimitsRequest:
    """What the tree of the child may use; what this machine cannot see to is refused."""

    memory_bytes: Memory | None = attrs.field(
        default=None, metadata=_asked("Memory of the tree: over it the child is started again.")
    )
    tasks: Count | None = attrs.field(
        default=None, metadata=_asked("Processes and threads of the tree.")
    )
    open_files: Count | None = attrs.field(
        default=None, metadata=_asked("Descriptors of each process (RLIMIT_NOFILE).")
    )
    cpu_weight: Weight | None = attrs.field(
        default=None,
        metadata=_asked("Share of the processors among trees that want them; others have 100."),
    )
    core_bytes: CountOrZero | None = attrs.field(
        default=None, metadata=_asked("Size of a core dump (RLIMIT_CORE).")
    )


@attrs.frozen(kw_only=True)
class PolicyRequest:
    """How a process is run."""

    restart: Restart = attrs.field(
        default=Restart("always"),
        metadata=_asked(
            "After which ends the child is followed by another.  After others the process is "
            "`finished`."
        ),
    )
    port: Port = attrs.field(
        default=Port("auto"),
        metadata=_asked(
            "Its TCP port, which it finds as PORT: one that the agent chooses, none or this one."
        ),
    )
    ready: ReadyRequest | None = attrs.field(
        default=None,
        metadata=_asked(
            'When a start counts as good.  By default `{"port": true}` for the type `web` with '
            'a port that the agent chooses, else `{"after": 1}`.'
        ),
    )
    stop: StopRequest = attrs.field(
        factory=StopRequest, metadata=_asked("How the child is asked to end.")
    )
    limits: LimitsRequest = attrs.field(
        factory=LimitsRequest, metadata=_asked("What the tree of the child may use.")
    )
    build: BuildMode = attrs.field(
        default=BuildMode("auto"),
        metadata=_asked("Whether what the app needs is installed, if there is a builder for it."),
    )


@attrs.frozen(kw_only=True)
class VersionRequest(PolicyRequest):
    """What is to run, and where it comes from."""

    EXACTLY_ONE: ClassVar = ("process_type", "command")

    process_type: Text | None = attrs.field(
        default=None, metadata=_asked("A type of the Procfile.", "web")
    )
    command: Line | None = attrs.field(
        default=None,
        metadata=_asked("For /bin/sh, in the files of the app; in place of `process_type`."),
    )
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
    root: RootPath | None = attrs.field(
        default=None,
        metadata=_asked("The directory of the archive that holds the Procfile."),
    )


@attrs.frozen(kw_only=True, slots=False)
class _SlugRequest:
    """How a process is to be called."""

    app: Name = attrs.field(metadata=_asked("With a dot and `node` it is the slug.", "hello"))
    node: Name = attrs.field(
        metadata=_asked("The slug must be unique; `app` need not be.", "web.0")
    )


@attrs.frozen(kw_only=True)
class CreateRequest(VersionRequest, _SlugRequest):
    """What is to run, and where it comes from."""


@attrs.frozen(kw_only=True)
class ReplaceRequest(VersionRequest):
    """What is to take the place of a process, and how."""

    order: OrderKind | None = attrs.field(
        default=None,
        metadata=_asked(
            "Whether the new child starts beside the old one or after it.  By default "
            "`start-first` where it has a port that the agent chooses, else `stop-first`."
        ),
    )
    drain: Seconds = attrs.field(
        default=Seconds(5.0),
        metadata=_asked(
            "Seconds for which the old child goes on when the new one is ready, if that starts "
            "first."
        ),
    )


@attrs.frozen(kw_only=True)
class SignalRequest:
    """Which signal to send."""

    signal: SignalName = attrs.field(
        metadata=_asked("Its name, with or without `SIG`; numbers are not taken.", "HUP")
    )


CREATE_REQUEST = request_of(CreateRequest)
REPLACE_REQUEST = request_of(ReplaceRequest)
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
_LAST_CRASH = Document(
    name="LastCrash",
    schema=document(
        "How the last child ended, when nobody had asked for that.",
        exit=_EXIT,
        at=time("When"),
        lines={
            "type": "array",
            "items": text("A line, or the first 1000 characters of it."),
            "maxItems": CRASH_LINES,
            "description": "The last lines that it wrote.",
        },
    ),
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
RELEASE: Schema = {"type": "integer", "description": "Of its app.", "minimum": 1}


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
    process_type: str | None = _seen(
        or_null(text("As in the create request; null where that has a command.")),
        "web",
        lambda view: view.spec.process_type,
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
    release: int | None = _seen(
        or_null({**RELEASE, "description": "Of its app, if it is one of an app."}),
        None,
        lambda view: view.spec.release,
    )
    port: int | None = _seen(
        or_null(count("Its TCP port, if the agent gave it one.", minimum=1, maximum=65535)),
        20000,
        lambda view: view.port,
    )
    ready: bool = _seen(
        {"type": "boolean", "description": "Whether the child that runs counts as started well."},
        True,
        lambda view: view.ready,
    )
    restarts: int = _seen(count("Starts after the first."), 0, lambda view: view.restarts)
    failures: int = _seen(
        count("Starts in a row that came to nothing: no child, or one that was never ready."),
        0,
        lambda view: view.failures,
    )
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
    last_crash: Mapping[str, object] | None = _shown(
        or_null(_LAST_CRASH), None, lambda process: process.last_crash
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


DocumentT = TypeVar("DocumentT")


def parse_create_request(body: bytes, *, request_id: str) -> ProcessSpec:
    """Check the body of a create request.

    Raises `BadRequestError`, with one line for each field that is not as it must be.
    """
    request = parse_document(body, CreateRequest, "create")
    return _spec_of(request, "create", request.app, request.node, request_id)


def parse_replace_request(body: bytes, *, app: str, node: str, request_id: str) -> Replacement:
    """Check the body of a replace request for the process with this app and node.

    Raises `BadRequestError`, with one line for each field that is not as it must be.
    """
    request = parse_document(body, ReplaceRequest, "replace")
    return Replacement(
        spec=_spec_of(request, "replace", app, node, request_id),
        order=cast("Order | None", request.order and str(request.order)),
        drain=request.drain,
    )


def _spec_of(
    request: VersionRequest, name: str, app: str, node: str, request_id: str
) -> ProcessSpec:
    env = {str(name): str(value) for name, value in request.env.items()}
    check_env(env, request.command or "", name)
    return ProcessSpec(
        app=app,
        node=node,
        process_type=request.process_type,
        command=request.command,
        source_url=request.source_url,
        source_sha256=request.source_sha256,
        root=request.root,
        env=env,
        request_id=request_id,
        **policies_of(request),
    )


def check_env(env: Mapping[str, str], command: str, request: str) -> None:
    """Raise `BadRequestError` when no program takes so large an environment."""
    errors = [
        f"{error} @ {'$' if name is None else json_path('$.env', name)}"
        for name, error in check_exec_size(command, env)
    ]
    if errors:
        raise BadRequestError(f"the {request} request is not valid", errors)


def policies_of(request: PolicyRequest) -> dict[str, Any]:
    """Return what a request says of how a process is run, as fields of its spec."""
    return {
        "restart": RestartPolicy(request.restart),
        "port": cast("PortWish", request.port),
        "ready": None if request.ready is None else _readiness(request.ready),
        "stop": StopPolicy(
            signal=signal.Signals[request.stop.signal],
            timeout=request.stop.timeout,
            to=cast("Literal['group', 'app']", str(request.stop.to)),
        ),
        "limits": ResourceLimits(**attrs.asdict(request.limits)),
        "build": "auto" if request.build == "auto" else "never",
    }


def _readiness(request: ReadyRequest) -> Readiness:
    asked = {name: value for name, value in attrs.asdict(request).items() if value is not None}
    return Readiness(**asked)


def parse_signal_request(body: bytes) -> signal.Signals:
    """Check the body of a signal request; return the signal, or raise `BadRequestError`."""
    return signal.Signals[parse_document(body, SignalRequest, "signal").signal]


def parse_empty_request(body: bytes) -> None:
    """Check a body that says nothing: empty, or an empty object; else `BadRequestError`."""
    if body.strip() and (data := parse_object(body)):
        errors = [f"unknown field @ {json_path('$', key)}" for key in data]
        raise BadRequestError("expected an empty body or {}", errors)


def parse_document(body: bytes, kind: type[DocumentT], name: str) -> DocumentT:
    errors: list[str] = []
    data = _known_fields(parse_object(body), kind, "$", errors)
    try:
        parsed = _converter.structure(data, kind)
    except BaseValidationError as exc:
        errors = transform_error(exc, format_exception=_describe) + errors
    if errors:
        raise BadRequestError(f"the {name} request is not valid", errors)
    return parsed


def _known_fields(data: dict[str, Any], kind: type, path: str, errors: list[str]) -> dict[str, Any]:
    """Return the fields that a document may have; tell the others, and those that are too many."""
    fields = attrs.fields_dict(kind)
    errors += [f"unknown field @ {json_path(path, key)}" for key in data if key not in fields]
    known = {key: value for key, value in data.items() if key in fields}
    choice = exactly_one(kind)
    found = [key for key in choice if key in known]
    if choice and not found:
        errors.append(f"required field missing: one of {', '.join(choice)} @ {path}")
    errors += [f"expected one of {', '.join(choice)} alone @ {path}.{key}" for key in found[1:]]
    for key, value in known.items():
        place, nested = json_path(path, key), _request_in(kind, key)
        if value is None and _is_by_name(kind, key):
            # What may be left out has no other form in which it says nothing.
            errors.append(f"expected an object @ {place}")
            known[key] = {}
        if nested is None or type(value) is not dict:
            continue
        if _is_by_name(kind, key):
            known[key] = {
                name: _known_fields(one, nested, json_path(place, name), errors)
                if type(one) is dict
                else one
                for name, one in value.items()
            }
        else:
            known[key] = _known_fields(value, nested, place, errors)
    return known


@functools.cache
def _request_in(kind: type, field: str) -> type | None:
    """Return the class of a field that is an object itself, or has such by name."""
    found = _types_of(kind, field)
    inner = [one for kind in found if get_origin(kind) is dict for one in get_args(kind)]
    return next((one for one in (*found, *inner) if attrs.has(one)), None)


@functools.cache
def _is_by_name(kind: type, field: str) -> bool:
    return any(get_origin(one) is dict for one in _types_of(kind, field))


def _types_of(kind: type, field: str) -> tuple[Any, ...]:
    """Return the types that a field may have."""
    found = get_type_hints(kind)[field]
    return found, *get_args(found)


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
    for request in (ReadyRequest, StopRequest, LimitsRequest):
        _add_nested(converter, request)
    return converter


def add_request(request: type) -> None:
    """Let a field be a request of its own, or have such by name."""
    _add_nested(_converter, request)


def _add_nested(converter: Converter, request: type) -> None:
    nested = _nested_hook(make_dict_structure_fn(request, converter))
    for optional in (request, request | None):
        converter.register_structure_hook(optional, nested)


def _nested_hook(structure: Callable[[Any, Any], Any]) -> Callable[[object, type], Any]:
    def checked(value: object, type_: type) -> Any:
        if type(value) is not dict:
            raise ValueError(f"expected an object, found {json_name(value)}")
        return structure(value, type_)

    return checked


def _hook(known: ValueKind) -> Callable[[object, type], Any]:
    def structure(value: object, _type: type) -> Any:
        return known.check(value)

    return structure


_converter = _make_converter()

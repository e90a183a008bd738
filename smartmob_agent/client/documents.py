"""The documents of an agent, typed.  Fields that a newer agent adds are kept, but not checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import attrs
from cattrs import BaseValidationError, Converter, transform_error

from smartmob_agent.client.errors import BadAnswerError

__all__ = [
    "FAILURES",
    "GONE",
    "STATES",
    "Change",
    "Exit",
    "Process",
    "Upload",
    "parse_change",
    "parse_json",
    "parse_process",
    "parse_processes",
    "parse_upload",
    "structure",
]

_T = TypeVar("_T", bound=attrs.AttrsInstance)

FAILURES = frozenset(
    {
        "download failure",
        "unpack failure",
        "no procfile",
        "invalid procfile",
        "unknown process type",
        "invalid app.json",
        "build failure",
    }
)
"""States from which a process does not recover by itself: delete it.

After `build failure` a restart builds again.
"""
GONE = "gone"
"""The state of a process that was deleted."""
STATES = (
    *("pending", "downloading", "unpacking", "processing", "building", "running"),
    *("backoff", "finished", "stopping"),
    *sorted(FAILURES),
    GONE,
)
"""All known states; newer agents may have more."""


@attrs.frozen(kw_only=True)
class Exit:
    """How a child ended: by itself with a code, or by a signal."""

    code: int | None = None
    signal: str | None = None

    def __str__(self) -> str:
        return f"exit code {self.code}" if self.signal is None else self.signal


@attrs.frozen(kw_only=True)
class Process:
    """The status of a process at the moment of the answer.

    state: one of the documented states; newer agents may have more.
    port: its TCP port, if the agent gave it one.
    ready: whether the child that runs counts as started well.
    release: of its app, if it is one of an app.
    exit: how the last child ended, None before the first end.
    error: one line on why the process does not run.
    next_start_at: time of the next start, while the process is in `backoff`.
    document: the JSON object as received.
    """

    app: str
    node: str
    process_type: str | None
    slug: str
    state: str
    attach: str
    details: str
    delete: str
    pid: int | None
    restarts: int
    created_at: datetime
    started_at: datetime | None
    exit: Exit | None
    error: str | None
    next_start_at: datetime | None
    port: int | None = None
    ready: bool = False
    release: int | None = None
    document: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def failed(self) -> bool:
        """Whether the process is in a state from which it does not recover."""
        return self.state in FAILURES


@attrs.frozen(kw_only=True)
class Change:
    """A process has entered a state.

    seq: its number, over all processes of the agent.
    previous: the state before, None when the process was created.
    document: the JSON object as received.
    """

    seq: int
    time: datetime
    slug: str
    previous: str | None
    state: str
    pid: int | None
    restarts: int
    exit: Exit | None
    error: str | None
    ready: bool = False
    document: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Upload:
    """An archive that the agent holds; `source_url` names it in a create request."""

    source_url: str
    sha256: str
    size: int


def parse_process(document: object) -> Process:
    """Read a status document; raises `BadAnswerError`."""
    process = structure(document, Process)
    return attrs.evolve(process, document=document)  # type: ignore[arg-type]  # It was an object.


def parse_change(document: object) -> Change:
    """Read an event of a process; raises `BadAnswerError`."""
    change = structure(document, Change)
    return attrs.evolve(change, document=document)  # type: ignore[arg-type]  # It was an object.


def parse_processes(document: object) -> list[Process]:
    """Read a list of status documents; raises `BadAnswerError`."""
    processes = document.get("processes") if isinstance(document, dict) else None
    if not isinstance(processes, list):
        raise BadAnswerError(f"expected a list of processes, found {document!a:.60}")
    return [parse_process(process) for process in processes]


def parse_upload(document: object) -> Upload:
    """Read the answer to an upload; raises `BadAnswerError`."""
    return structure(document, Upload)


def parse_json(body: bytes | str) -> Any:
    """Parse JSON; raises `BadAnswerError`."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        shown = body[:60].decode("latin-1") if isinstance(body, bytes) else body[:60]
        raise BadAnswerError(f"expected JSON, found {shown!a}") from None


def structure(document: object, kind: type[_T]) -> _T:
    """Read a document; fields that are not known are passed over.  Raises `BadAnswerError`."""
    if not isinstance(document, dict):
        raise BadAnswerError(f"expected an object, found {document!a:.60}")
    known = {field.name for field in attrs.fields(kind)} - {"document"}
    try:
        return _converter.structure({k: v for k, v in document.items() if k in known}, kind)
    except BaseValidationError as exc:
        faults = transform_error(exc, format_exception=_describe)
        raise BadAnswerError(f"expected a {kind.__name__.lower()}: {'; '.join(faults)}") from None


def _describe(exc: BaseException, _type: object) -> str:
    return "required field missing" if isinstance(exc, KeyError) else str(exc)


def _exactly(kind: type) -> Callable[[object, object], Any]:
    """Return a hook that converts nothing; cattrs would make a text of anything."""

    def hook(value: object, _type: object) -> Any:
        if type(value) is not kind:
            raise ValueError(f"expected {kind.__name__}, found {value!a:.60}")
        return value

    return hook


def _time(value: object, _type: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError(f"expected a time, found {value!a:.60}")  # noqa: TRY004 -- one error for all faults
    return datetime.fromisoformat(value)


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(datetime, _time)
    return converter


_converter = _make_converter()

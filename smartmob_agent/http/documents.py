"""The documents of the HTTP API: JSON in, checked strictly and once; JSON out."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NewType, TypeVar

import attrs
from cattrs import BaseValidationError, Converter, transform_error

from smartmob_agent.errors import BadRequestError
from smartmob_agent.http.json_object import JSON_NAMES, json_path, parse_object
from smartmob_agent.http.links import Links
from smartmob_agent.output.batch import rfc3339
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.source.digests import check_digest, digest_of_upload
from smartmob_agent.source.urls import check_source_url

__all__ = [
    "SIGNALS",
    "parse_create_request",
    "parse_empty_request",
    "parse_signal_request",
    "process_status",
]

Name = NewType("Name", str)
Text = NewType("Text", str)
SourceUrl = NewType("SourceUrl", str)
Digest = NewType("Digest", str)
VariableName = NewType("VariableName", str)
VariableValue = NewType("VariableValue", str)
SignalName = NewType("SignalName", str)

# fmt: off
SIGNALS = (
    "ABRT", "ALRM", "BUS", "CHLD", "CONT", "FPE", "HUP", "ILL", "INT",
    "KILL", "PIPE", "PROF", "QUIT", "SEGV", "STOP", "SYS", "TERM", "TRAP",
    "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
    "XFSZ",
)
# fmt: on
"""POSIX.1-2017, <signal.h>, and the change of a window's size."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""POSIX.1-2017, Base Definitions, section 3.235."""


@attrs.frozen(kw_only=True)
class _CreateRequest:
    app: Name
    node: Name
    process_type: Text
    source_url: SourceUrl
    source_sha256: Digest | None = None
    env: dict[VariableName, VariableValue] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class _SignalRequest:
    signal: SignalName


DocumentT = TypeVar("DocumentT", _CreateRequest, _SignalRequest)


def parse_create_request(body: bytes, *, request_id: str) -> ProcessSpec:
    """Check the body of a create request.

    Raises `BadRequestError`, with one line for each field that is not as it must be.
    """
    request = _parse_document(body, _CreateRequest, "create")
    return ProcessSpec(
        app=request.app,
        node=request.node,
        process_type=request.process_type,
        source_url=request.source_url,
        source_sha256=request.source_sha256,
        env={str(name): str(value) for name, value in request.env.items()},
        request_id=request_id,
    )


def parse_signal_request(body: bytes) -> signal.Signals:
    """Check the body of a signal request; return the signal, or raise `BadRequestError`."""
    return signal.Signals[_parse_document(body, _SignalRequest, "signal").signal]


def parse_empty_request(body: bytes) -> None:
    """Check a body that says nothing: empty, or an empty object; else `BadRequestError`."""
    if body.strip() and (data := parse_object(body)):
        errors = [f"unknown field @ {json_path('$', key)}" for key in data]
        raise BadRequestError("expected an empty body or {}", errors)


def process_status(process: ManagedProcess, links: Links) -> dict[str, Any]:
    """Return what can be seen of a process; neither its `env` nor its source URL are part of it."""
    details, source = links.details(process.slug), process.files.source
    return {
        "app": process.spec.app,
        "node": process.spec.node,
        "process_type": process.spec.process_type,
        "slug": process.slug,
        "state": process.state.value,
        "attach": links.attach(process.slug),
        "details": details,
        "status": details,
        "delete": links.delete(process.slug),
        "pid": process.pid,
        "restarts": process.restarts,
        "created_at": _time(process.created_at),
        "started_at": _time(process.started_at),
        "exit": process.exit and process.exit.record,
        "error": process.error,
        "next_start_at": _time(process.next_start_at),
        "containment": process.containment,
        "source_sha256": source.sha256,
        "download": source.download and attrs.asdict(source.download),
    }


def _time(time: datetime | None) -> str | None:
    return None if time is None else rfc3339(time)


def _parse_document(body: bytes, kind: type[DocumentT], name: str) -> DocumentT:
    data = parse_object(body)
    fields = attrs.fields_dict(kind)
    errors = [f"unknown field @ {json_path('$', key)}" for key in data if key not in fields]
    try:
        document = _converter.structure({key: data[key] for key in data if key in fields}, kind)
    except BaseValidationError as exc:
        errors = transform_error(exc, format_exception=_describe) + errors
    if errors:
        raise BadRequestError(f"the {name} request is not valid", errors)
    return document


def _describe(exc: BaseException, _type: object) -> str:
    if isinstance(exc, KeyError):
        return "required field missing"
    if isinstance(exc, AttributeError):  # It was asked for its items.
        return "expected an object"
    return str(exc)


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError(f"expected a string, found {JSON_NAMES[type(value)]}")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("expected Unicode text, found a lone surrogate")
    return value


def _not_empty(value: object, _type: type) -> str:
    text = _text(value)
    if not text:
        raise ValueError("expected a string that is not empty")
    return text


def _name(value: object, _type: type) -> str:
    text = _not_empty(value, _type)
    if not _NAME.fullmatch(text):
        raise ValueError("expected 1 to 64 characters of A-Z a-z 0-9 . _ -")
    return text


def _source_url(value: object, _type: type) -> str:
    text = _not_empty(value, _type)
    if digest_of_upload(text) is None:
        check_source_url(text)
    return text


def _digest(value: object, _type: type) -> str:
    return check_digest(_text(value))


def _variable_name(value: object, _type: type) -> str:
    text = _text(value)
    if not _VARIABLE_NAME.fullmatch(text):
        raise ValueError("expected the name of a variable: letters, digits, _, no digit first")
    return text


def _variable_value(value: object, _type: type) -> str:
    text = _text(value)
    if "\0" in text:
        raise ValueError("expected a value without NUL")
    return text


def _signal_name(value: object, _type: type) -> str:
    name = _not_empty(value, _type).removeprefix("SIG")
    if name not in SIGNALS:
        raise ValueError("expected the name of a signal, such as HUP or SIGHUP")
    return f"SIG{name}"


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    hooks: Mapping[Any, Callable[[object, type], str]] = {
        Name: _name,
        Text: _not_empty,
        SourceUrl: _source_url,
        Digest | None: _digest,
        VariableName: _variable_name,
        VariableValue: _variable_value,
        SignalName: _signal_name,
    }
    for kind, hook in hooks.items():
        converter.register_structure_hook(kind, hook)
    return converter


_converter = _make_converter()

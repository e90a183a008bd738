"""The documents of the HTTP API: JSON in, checked strictly and once; JSON out."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import attrs
from cattrs import BaseValidationError, Converter, transform_error

from smartmob_agent.api.json_object import json_path, parse_object
from smartmob_agent.api.kinds import (
    KINDS,
    Digest,
    FieldKind,
    Name,
    SignalName,
    SourceUrl,
    Text,
    VariableName,
    VariableValue,
)
from smartmob_agent.api.links import Links
from smartmob_agent.errors import BadRequestError
from smartmob_agent.output.batch import rfc3339
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.spec import ProcessSpec

__all__ = [
    "CreateRequest",
    "SignalRequest",
    "parse_create_request",
    "parse_empty_request",
    "parse_signal_request",
    "process_status",
]


def _about(text: str) -> dict[str, str]:
    """For who reads the description of the API."""
    return {"about": text}


@attrs.frozen(kw_only=True)
class CreateRequest:
    """What is to run, and where it comes from."""

    app: Name = attrs.field(metadata=_about("With a dot and `node` it is the slug."))
    node: Name = attrs.field(metadata=_about("The slug must be unique; `app` need not be."))
    process_type: Text = attrs.field(metadata=_about("A type of the Procfile."))
    source_url: SourceUrl = attrs.field(
        metadata=_about(
            "Where the archive is: http, https, or the name that an upload got.  "
            "Credentials in it are used and never shown."
        )
    )
    source_sha256: Digest | None = attrs.field(
        default=None, metadata=_about("The SHA-256 digest that the archive must have.")
    )
    env: dict[VariableName, VariableValue] = attrs.field(
        factory=dict, metadata=_about("Variables for the environment of the child; never shown.")
    )


@attrs.frozen(kw_only=True)
class SignalRequest:
    """Which signal to send."""

    signal: SignalName = attrs.field(
        metadata=_about("Its name, with or without `SIG`; numbers are not taken.")
    )


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


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    for kind, field in KINDS.items():
        # What may be left out has no other form in which it says nothing, such as null.
        for type_ in (kind, kind | None):
            converter.register_structure_hook(type_, _hook(field))
    return converter


def _hook(field: FieldKind) -> Callable[[object, type], str]:
    def structure(value: object, _type: type) -> str:
        return field.check(value)

    return structure


_converter = _make_converter()

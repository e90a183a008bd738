"""What the fields of a request may hold: checks, and the same as JSON Schema.  Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NewType

import attrs

from smartmob_agent.api.json_object import JSON_NAMES
from smartmob_agent.source.app.assignments import VARIABLE_NAME
from smartmob_agent.source.digests import DIGEST, SCHEME, check_digest, digest_of_upload
from smartmob_agent.source.download.urls import check_source_url

__all__ = [
    "KINDS",
    "SIGNALS",
    "SLUG_PATTERN",
    "Digest",
    "FieldKind",
    "Name",
    "SignalName",
    "SourceUrl",
    "Text",
    "VariableName",
    "VariableValue",
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
SLUG_PATTERN = rf"^{_NAME.pattern}\.{_NAME.pattern}$"
"""Of a slug, as JSON Schema wants it."""


@attrs.frozen
class FieldKind:
    """What a value may be.

    check: returns it, perhaps in its normal form, or raises `ValueError`.
    schema: the same as JSON Schema, as far as that can say it.
    """

    check: Callable[[object], str]
    schema: Mapping[str, object]


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError(f"expected a string, found {JSON_NAMES[type(value)]}")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("expected Unicode text, found a lone surrogate")
    return value


def _not_empty(value: object) -> str:
    text = _text(value)
    if not text:
        raise ValueError("expected a string that is not empty")
    return text


def _name(value: object) -> str:
    text = _not_empty(value)
    if not _NAME.fullmatch(text):
        raise ValueError("expected 1 to 64 characters of A-Z a-z 0-9 . _ -")
    return text


def _source_url(value: object) -> str:
    text = _not_empty(value)
    if digest_of_upload(text) is None:
        check_source_url(text)
    return text


def _digest(value: object) -> str:
    return check_digest(_text(value))


def _variable_name(value: object) -> str:
    text = _text(value)
    if not VARIABLE_NAME.fullmatch(text):
        raise ValueError("expected the name of a variable: letters, digits, _, no digit first")
    return text


def _variable_value(value: object) -> str:
    text = _text(value)
    if "\0" in text:
        raise ValueError("expected a value without NUL")
    return text


def _signal_name(value: object) -> str:
    name = _not_empty(value).removeprefix("SIG")
    if name not in SIGNALS:
        raise ValueError("expected the name of a signal, such as HUP or SIGHUP")
    return f"SIG{name}"


def _string(**rules: object) -> Mapping[str, object]:
    return {"type": "string", **rules}


KINDS: Mapping[Any, FieldKind] = {
    Name: FieldKind(_name, _string(pattern=f"^{_NAME.pattern}$")),
    Text: FieldKind(_not_empty, _string(minLength=1)),
    SourceUrl: FieldKind(
        _source_url, _string(format="uri", pattern=f"^(https?://|{SCHEME}sha256:)")
    ),
    Digest: FieldKind(_digest, _string(pattern=f"^{DIGEST.pattern}$")),
    VariableName: FieldKind(_variable_name, _string(pattern=f"^{VARIABLE_NAME.pattern}$")),
    VariableValue: FieldKind(_variable_value, _string(pattern="^[^\0]*$")),
    SignalName: FieldKind(
        _signal_name, _string(enum=[f"{start}{name}" for name in SIGNALS for start in ("", "SIG")])
    ),
}
"""Type of a field → what it may be."""

"""What a value may be, in a body or a query: checked strictly, and the same as JSON Schema.  Pure.

What RFC 8259 leaves to each reader of JSON is refused; what a query has besides its options, too.
Every fault is told at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NewType
from urllib.parse import parse_qsl

import attrs

from smartmob_agent.errors import BadRequestError
from smartmob_agent.output.line_pattern import MAX_PATTERN_CHARS, LinePattern
from smartmob_agent.source.app.assignments import VARIABLE_NAME
from smartmob_agent.source.digests import DIGEST, SCHEME, check_digest, digest_of_upload
from smartmob_agent.source.download.urls import check_source_url

__all__ = [
    "KINDS",
    "NUMBER",
    "QUERY_DETAIL",
    "SIGNALS",
    "SLUG_PATTERN",
    "SWITCH",
    "TEXT",
    "BuildMode",
    "Count",
    "CountOrZero",
    "Digest",
    "HttpPath",
    "Line",
    "Memory",
    "Name",
    "OnFailureKind",
    "OrderKind",
    "Pattern",
    "Port",
    "QueryOption",
    "Restart",
    "RootPath",
    "Seconds",
    "SignalName",
    "SlotCount",
    "SourceUrl",
    "StopTo",
    "Text",
    "TypeName",
    "ValueKind",
    "VariableChange",
    "VariableName",
    "VariableValue",
    "Weight",
    "Yes",
    "json_name",
    "json_path",
    "number",
    "one_of",
    "parse_object",
    "parse_query",
]


@attrs.frozen
class ValueKind:
    """What a value may be: a field of a body, or the text of an option in a query.

    check: returns it, perhaps in its normal form, or raises `ValueError`.
    schema: the same as JSON Schema, as far as that can say it.
    """

    check: Callable[[Any], Any]
    schema: Mapping[str, object]


# Fields of a body

Name = NewType("Name", str)
Text = NewType("Text", str)
SourceUrl = NewType("SourceUrl", str)
Digest = NewType("Digest", str)
VariableName = NewType("VariableName", str)
VariableValue = NewType("VariableValue", str)
VariableChange = NewType("VariableChange", object)
TypeName = NewType("TypeName", str)
OnFailureKind = NewType("OnFailureKind", str)
SignalName = NewType("SignalName", str)
Line = NewType("Line", str)
RootPath = NewType("RootPath", str)
Restart = NewType("Restart", str)
Port = NewType("Port", object)
HttpPath = NewType("HttpPath", str)
Pattern = NewType("Pattern", str)
Yes = NewType("Yes", bool)
Seconds = NewType("Seconds", float)
StopTo = NewType("StopTo", str)
OrderKind = NewType("OrderKind", str)
Memory = NewType("Memory", int)
Count = NewType("Count", int)
CountOrZero = NewType("CountOrZero", int)
SlotCount = NewType("SlotCount", int)
Weight = NewType("Weight", int)
BuildMode = NewType("BuildMode", str)

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

_LAST_PORT = 65535
_MOST_SECONDS = 86400
_TYPE_NAME = re.compile("[A-Za-z0-9_-]{1,32}")
_ROOT = re.compile(r"[^/\x00]+(?:/[^/\x00]+)*/?")
_PATH = re.compile(r"/[!-~]{0,1023}")

_JSON_NAMES: Mapping[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
"""What Python makes of JSON → what a human calls it."""


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError(f"expected a string, found {_JSON_NAMES[type(value)]}")
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


def _type_name(value: object) -> str:
    text = _not_empty(value)
    if not _TYPE_NAME.fullmatch(text) or text == "release":
        raise ValueError("expected 1 to 32 characters of A-Z a-z 0-9 _ -, and not 'release'")
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


def _line(value: object) -> str:
    text = _not_empty(value)
    if "\0" in text:
        raise ValueError("expected a command without NUL")
    return text


def _root_path(value: object) -> str:
    text = _not_empty(value)
    if not _ROOT.fullmatch(text) or ".." in text.split("/"):
        raise ValueError("expected the path of a directory in the archive, such as backend/app")
    return text.rstrip("/")


def _port(value: object) -> object:
    if value in ("auto", "none"):
        return value
    if type(value) is float and value.is_integer():
        value = int(value)  # To JSON Schema 80.0 is an integer, too.
    if type(value) is int and 1 <= value <= _LAST_PORT:
        return value
    found = f"{value!a}" if type(value) in (str, int, float) else _JSON_NAMES[type(value)]
    raise ValueError(f"expected 'auto', 'none' or a number from 1 to {_LAST_PORT}, found {found}")


def _http_path(value: object) -> str:
    text = _text(value)
    if not _PATH.fullmatch(text):
        raise ValueError("expected a path, and perhaps a query, of visible ASCII, such as /health")
    return text


def _pattern(value: object) -> str:
    text = _not_empty(value)
    LinePattern(text)
    return text


def _yes(value: object) -> bool:
    if value is not True:
        raise ValueError("expected true; leave it out for anything else")
    return value


def _seconds(value: object) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"expected a number of seconds, found {_JSON_NAMES[type(value)]}")
    assert isinstance(value, int | float)  # noqa: S101  # for type checkers
    if not 0 <= value <= _MOST_SECONDS:
        raise ValueError(f"expected 0 to {_MOST_SECONDS} seconds, found {value!r}")
    return float(value)


def _whole(least: int, most: int) -> ValueKind:
    def check(value: object) -> int:
        if type(value) is float and value.is_integer():
            value = int(value)  # To JSON Schema 80.0 is an integer, too.
        if type(value) is not int:
            raise ValueError(f"expected a whole number, found {_JSON_NAMES[type(value)]}")
        if not least <= value <= most:
            raise ValueError(f"expected {least} to {most}, found {value}")
        return value

    return ValueKind(check, {"type": "integer", "minimum": least, "maximum": most})


def _word_of(*words: str) -> ValueKind:
    def check(value: object) -> str:
        text = _text(value)
        if text not in words:
            raise ValueError(f"expected one of {', '.join(words)}, found {text!a}")
        return text

    return ValueKind(check, {"type": "string", "enum": list(words)})


def _string(**rules: object) -> Mapping[str, object]:
    return {"type": "string", **rules}


KINDS: Mapping[Any, ValueKind] = {
    Name: ValueKind(_name, _string(pattern=f"^{_NAME.pattern}$")),
    Text: ValueKind(_not_empty, _string(minLength=1)),
    SourceUrl: ValueKind(
        _source_url, _string(format="uri", pattern=f"^(https?://|{SCHEME}sha256:)")
    ),
    Digest: ValueKind(_digest, _string(pattern=f"^{DIGEST.pattern}$")),
    VariableName: ValueKind(_variable_name, _string(pattern=f"^{VARIABLE_NAME.pattern}$")),
    VariableValue: ValueKind(_variable_value, _string(pattern="^[^\0]*$")),
    VariableChange: ValueKind(
        lambda value: None if value is None else _variable_value(value),
        {"type": ["string", "null"], "pattern": "^[^\0]*$"},
    ),
    TypeName: ValueKind(_type_name, _string(pattern=f"^{_TYPE_NAME.pattern}$")),
    OnFailureKind: _word_of("rollback", "halt"),
    BuildMode: _word_of("auto", "never"),
    SignalName: ValueKind(
        _signal_name, _string(enum=[f"{start}{name}" for name in SIGNALS for start in ("", "SIG")])
    ),
    Line: ValueKind(_line, _string(minLength=1, pattern=r"^[^\x00]*$")),
    RootPath: ValueKind(_root_path, _string(pattern=f"^{_ROOT.pattern}$")),
    Restart: _word_of("always", "on-failure", "never"),
    Port: ValueKind(
        _port,
        {
            "oneOf": [
                {"type": "string", "enum": ["auto", "none"]},
                {"type": "integer", "minimum": 1, "maximum": _LAST_PORT},
            ]
        },
    ),
    HttpPath: ValueKind(_http_path, _string(pattern=f"^{_PATH.pattern}$")),
    Pattern: ValueKind(_pattern, _string(format="regex", minLength=1, maxLength=MAX_PATTERN_CHARS)),
    Yes: ValueKind(_yes, {"const": True}),
    Seconds: ValueKind(_seconds, {"type": "number", "minimum": 0, "maximum": _MOST_SECONDS}),
    StopTo: _word_of("group", "app"),
    OrderKind: _word_of("start-first", "stop-first"),
    Memory: _whole(1024 * 1024, 2**62),
    Count: _whole(1, 2**22),
    CountOrZero: _whole(0, 2**62),
    SlotCount: _whole(0, 1000),
    Weight: _whole(1, 10_000),
}
"""Type of a field → what it may be."""


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; RFC 8259 in its strict reading: UTF-8, unique names, no NaN."""
    try:
        data = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise BadRequestError("expected JSON, found arrays or objects nested too deep") from None
    except UnicodeDecodeError as exc:
        raise BadRequestError(
            f"expected UTF-8, found an invalid byte at position {exc.start}"
        ) from None
    except ValueError as exc:
        raise BadRequestError(f"expected JSON: {exc}") from None
    if not isinstance(data, dict):
        raise BadRequestError(f"expected an object, found {_JSON_NAMES[type(data)]}")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!a} stands twice in one object")
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def json_name(value: object) -> str:
    """Return what a human calls a value of JSON, such as `a string`."""
    return _JSON_NAMES[type(value)]


def json_path(parent: str, key: str) -> str:
    """Return where a key is, as errors say it."""
    plain = key.isascii() and key.isidentifier()
    return f"{parent}.{key}" if plain else f"{parent}[{key!a}]"


# Options of a query

QUERY_DETAIL = "the query is not valid"
"""Of the problem; its errors say more."""

_DIGITS = 18
"""Of a number that fits into 64 bits."""


@attrs.frozen(kw_only=True)
class QueryOption:
    """What a query may have.

    about: for who reads the description of the API.
    default: what counts without it; None if nothing does.
    many: it may be given more than once, and is a list.
    """

    kind: ValueKind
    about: str
    default: object = None
    many: bool = False


def parse_query(
    query: bytes,
    options: Mapping[str, QueryOption],
    *,
    conflicts: Callable[[Mapping[str, Any]], Sequence[str]] = lambda _: (),
) -> dict[str, Any]:
    """Return the options that were given, by name; those which were not are not in it.

    options: what is known.
    conflicts: says what is wrong with values that are right one by one.

    Raises `BadRequestError` with one line for each option that is not as it must be.
    """
    values: dict[str, Any] = {}
    errors = []
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        option = options.get(name)
        try:
            value = _check(name, text, options, seen=name in values)
        except ValueError as exc:
            errors.append(str(exc) if option is None else f"{exc} @ {name}")
            value = None
        if option is not None and option.many:
            values.setdefault(name, []).append(value)
        elif option is not None:
            values.setdefault(name, value)
    if not errors:
        errors += conflicts(values)
    if errors:
        raise BadRequestError(QUERY_DETAIL, errors)
    return values


def _check(name: str, text: str, options: Mapping[str, QueryOption], *, seen: bool) -> object:
    if name not in options:
        known = f"one of {', '.join(options)}" if options else "no option"
        raise ValueError(f"expected {known}, found {name!a}")
    if seen and not options[name].many:
        raise ValueError("expected once")
    return options[name].kind.check(text)


def number(text: str) -> int:
    """Check a number from 0."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise ValueError(f"expected a number from 0, found {text!a}")
    return int(text)


def one_of(*choices: str) -> ValueKind:
    """Return the kind of some words."""

    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, found {text!a}")
        return text

    return ValueKind(check, {"type": "string", "enum": list(choices)})


def _switch(text: str) -> bool:
    return bool(int(_BITS.check(text)))


_BITS = one_of("0", "1")
NUMBER = ValueKind(number, {"type": "integer", "minimum": 0, "maximum": 10**_DIGITS - 1})
SWITCH = ValueKind(_switch, {"type": "integer", "enum": [0, 1]})
TEXT = ValueKind(str, {"type": "string"})

"""app.json: what an app says of itself to the platform that runs it.  Pure.

The format is Heroku's ("app.json Schema"); what is read of it is `formation` and `env`, and
anything else is passed over.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import attrs

from smartmob_agent.errors import InvalidAppJsonError
from smartmob_agent.source.app.assignments import VARIABLE_NAME

__all__ = ["MAX_BYTES", "AppJson", "Variable", "parse_app_json", "request_environment"]

MAX_BYTES = 256 * 1024

_QUANTITY = 1000
"""Of processes of one type: more is a mistake."""


@attrs.frozen(kw_only=True)
class Variable:
    """A variable of the environment that an app knows.

    value: what it is by default; None if there is no default.
    required: the app cannot run without it.
    generated: if nobody sets it, it is to be a secret.
    """

    value: str | None = None
    required: bool = True
    generated: bool = False


@attrs.frozen(kw_only=True)
class AppJson:
    """What an app says.

    formation: process type → how many processes.
    env: name → variable.
    """

    formation: Mapping[str, int] = attrs.field(factory=dict)
    env: Mapping[str, Variable] = attrs.field(factory=dict)


def parse_app_json(data: bytes) -> AppJson:
    """Read an app.json.

    Raises `InvalidAppJsonError`, which quotes no value.
    """
    if len(data) > MAX_BYTES:
        raise _error(f"expected at most {MAX_BYTES} bytes, found more")
    try:
        document = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise _error("nested too deep") from None
    except ValueError as exc:
        raise _error(f"expected JSON in UTF-8: {exc}") from exc
    if not isinstance(document, dict):
        raise _error("expected an object")
    formation = _object(document.get("formation"), "formation")
    env = _object(document.get("env"), "env")
    return AppJson(
        formation={name: _quantity(name, entry) for name, entry in formation.items()},
        env={name: _variable(name, entry) for name, entry in env.items()},
    )


def request_environment(
    app_json: AppJson, given: Mapping[str, str], *, secret: bytes, app: str
) -> dict[str, str]:
    """Return what was given, and the defaults of an app.

    given: the `env` of the create request.
    secret: generated values are made of it: they are the same for all processes of an app.
    app: its name.

    Raises `InvalidAppJsonError` when a variable is required and nobody has set it.
    """
    values, missing = {}, []
    for name, variable in app_json.env.items():
        if name in given:
            continue
        if variable.value is not None:
            values[name] = variable.value
        elif variable.generated:
            message = f"{app}\0{name}".encode()
            values[name] = hmac.new(secret, message, hashlib.sha256).hexdigest()
        elif variable.required:
            missing.append(name)
    if missing:
        names = ", ".join(sorted(missing))
        raise _error(f"expected values in the request's env for {names}, found none")
    return {**values, **given}


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _error(f"{name}: expected an object")
    return value


def _quantity(name: str, entry: Any) -> int:
    quantity = _object(entry, f"formation.{name}").get("quantity", 1)
    if type(quantity) is not int or not 0 <= quantity <= _QUANTITY:
        raise _error(f"formation.{name}.quantity: expected a number from 0 to {_QUANTITY}")
    return quantity


def _variable(name: str, entry: Any) -> Variable:
    if not VARIABLE_NAME.fullmatch(name):
        raise _error(f"env: expected the name of a variable, found {name[:40]!a}")
    if isinstance(entry, str):
        entry = {"value": entry}
    fields = _object(entry, f"env.{name}")
    value, required = fields.get("value"), fields.get("required", True)
    if value is not None and (not isinstance(value, str) or not _is_text(value)):
        raise _error(f"env.{name}.value: expected a string without NUL")
    if not isinstance(required, bool):
        raise _error(f"env.{name}.required: expected true or false")
    return Variable(value=value, required=required, generated=fields.get("generator") == "secret")


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)


def _error(message: str) -> InvalidAppJsonError:
    return InvalidAppJsonError(f"app.json: {message}")

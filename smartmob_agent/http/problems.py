"""Errors as problem documents: RFC 9457."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from smartmob_agent.errors import BadRequestError, RequestError

__all__ = ["MEDIA_TYPE", "problem", "problem_of"]

MEDIA_TYPE = "application/problem+json"


_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Where Python's own phrases differ between its versions: RFC 9110, section 15.5."""


def problem(status: int, detail: str, errors: Sequence[str] = ()) -> dict[str, Any]:
    """Return a problem document; its type is the HTTP status itself (section 4.2.1)."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        document["errors"] = list(errors)
    return document


def problem_of(error: RequestError) -> dict[str, Any]:
    """Return the problem document of an error that a client can mend."""
    errors = error.errors if isinstance(error, BadRequestError) else ()
    return problem(error.status, str(error), errors)

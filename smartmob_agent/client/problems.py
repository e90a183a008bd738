"""Error answers as exceptions.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

from smartmob_agent.client.documents import parse_json
from smartmob_agent.client.errors import (
    BadAnswerError,
    BusyError,
    ClientError,
    ConflictError,
    InternalError,
    InvalidRequestError,
    NoSuchProcessError,
    NotAllowedError,
    RefusedError,
    TooLargeError,
    UnreachableError,
)

__all__ = ["refused"]

_MEDIA_TYPE = "application/problem+json"
"""RFC 9457."""
_GATEWAY_STATUSES = (502, 503, 504)
"""Of a proxy that does not reach the agent: RFC 9110, sections 15.6.3 to 15.6.5; an agent's own
503 is a problem document."""
_BY_STATUS: Mapping[int, type[RefusedError]] = {
    400: InvalidRequestError,
    401: NotAllowedError,
    403: NotAllowedError,
    404: NoSuchProcessError,
    409: ConflictError,
    413: TooLargeError,
    429: BusyError,
    500: InternalError,
    503: BusyError,
}


def refused(status: int, headers: Mapping[str, str], body: bytes) -> ClientError:
    """Return the error for an answer.

    headers: name, in lower case at least → value.
    """
    if headers.get("content-type", "").startswith(_MEDIA_TYPE):
        document = parse_json(body or b"{}")  # Empty for a HEAD.
        if isinstance(document, dict):
            return _refusal(status, document, headers.get("x-request-id", ""))
    if status in _GATEWAY_STATUSES:
        return UnreachableError(f"a proxy does not reach the agent: it answers with HTTP {status}")
    return BadAnswerError(f"expected the answer of an agent, found HTTP {status}")


def _refusal(status: int, document: Mapping[str, object], request_id: str) -> RefusedError:
    """Return the error for a problem document; what it lacks is left out."""
    errors = document.get("errors")
    return _BY_STATUS.get(status, RefusedError)(
        status,
        str(document.get("detail") or document.get("title") or f"HTTP {status}"),
        errors=[str(error) for error in errors] if isinstance(errors, list) else (),
        request_id=request_id,
        document=document,
    )

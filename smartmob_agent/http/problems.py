"""Errors as problem documents (RFC 9457), and the ways to send one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import attrs

from smartmob_agent.errors import RequestError
from smartmob_agent.http.asgi import Headers, Scope, Send
from smartmob_agent.http.headers import REQUEST_ID

__all__ = ["MEDIA_TYPE", "Refusal", "plain_refusal", "problem", "problem_of", "send_problem"]

MEDIA_TYPE = "application/problem+json"


_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Where Python's own phrases differ between its versions: RFC 9110, section 15.5."""

_DETAILS = {
    400: "expected a request of HTTP/1.1, found something else",
    403: "the WebSocket was refused",
    408: "expected the request sooner",
    431: "expected shorter headers",
    500: "the agent failed at this request",
    501: "expected no Transfer-Encoding but chunked",
}
"""Status → what is said of a request of which nothing better is known."""


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
    return {**problem(error.status, str(error)), **error.members}


async def send_problem(
    scope: Scope,
    send: Send,
    status: int,
    detail: str,
    headers: Iterable[tuple[bytes, bytes]] = (),
    errors: Sequence[str] = (),
) -> None:
    """Answer a request, or the handshake of a WebSocket, by a problem document."""
    body, fields = _encode(problem(status, detail, errors))
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    await send({"type": f"{kind}.start", "status": status, "headers": [*fields, *headers]})
    await send({"type": f"{kind}.body", "body": body})


@attrs.frozen
class Refusal:
    """An answer of the connection layer, in the place of the application; the connection ends."""

    status: int
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def encode(self, request_id: str) -> tuple[Headers, bytes]:
        """Return headers and body."""
        body, fields = _encode(problem(self.status, self.detail))
        headers = [
            *fields,
            (REQUEST_ID, request_id.encode()),
            *self.headers,
            (b"connection", b"close"),
        ]
        return headers, body


def plain_refusal(status: int) -> Refusal:
    """Return the refusal of a request of which nothing better is known than the status."""
    return Refusal(status, _DETAILS.get(status, _DETAILS[400]))


def _encode(document: dict[str, Any]) -> tuple[bytes, Headers]:
    """Return the body and the headers that tell what it is."""
    body = json.dumps(document).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    return body, headers

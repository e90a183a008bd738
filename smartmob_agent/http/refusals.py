"""Answers that the connection layer gives in the place of the application."""

from __future__ import annotations

import json

import attrs

from smartmob_agent.http.asgi import Headers
from smartmob_agent.http.headers import REQUEST_ID
from smartmob_agent.http.middleware.request_id import new_request_id
from smartmob_agent.http.problems import MEDIA_TYPE, problem

__all__ = ["Refusal", "plain_refusal"]

_DETAILS = {
    400: "expected a request of HTTP/1.1, found something else",
    403: "the WebSocket was refused",
    408: "expected the request sooner",
    431: "expected shorter headers",
    500: "the agent failed at this request",
    501: "expected no Transfer-Encoding but chunked",
}


@attrs.frozen
class Refusal:
    """A problem document to be sent, after which the connection ends."""

    status: int
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def encode(self) -> tuple[Headers, bytes]:
        """Return headers and body; the id of the request is a new one."""
        body = json.dumps(problem(self.status, self.detail)).encode()
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (REQUEST_ID, new_request_id().encode()),
            *self.headers,
            (b"connection", b"close"),
        ]
        return headers, body


def plain_refusal(status: int) -> Refusal:
    """Return the refusal of a request of which nothing better is known than the status."""
    return Refusal(status, _DETAILS.get(status, _DETAILS[400]))

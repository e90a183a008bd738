"""Looking up headers, whose names are in lower case in ASGI, and the one that is our own."""

from __future__ import annotations

import uuid

from smartmob_agent.http.asgi import Headers

__all__ = [
    "REQUEST_ID",
    "REQUEST_ID_HEADER",
    "find_header",
    "header_values",
    "new_request_id",
    "without_headers",
]

REQUEST_ID_HEADER = "X-Request-Id"
REQUEST_ID = REQUEST_ID_HEADER.lower().encode()


def header_values(headers: Headers, name: bytes) -> list[bytes]:
    """Return the value of each line of a header."""
    return [value for key, value in headers if key == name]


def find_header(headers: Headers, name: bytes) -> str | None:
    """Return the value of the first line of a header, or None; each byte is a character."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def without_headers(headers: Headers, *names: bytes) -> Headers:
    """Return all other headers, in their order."""
    return [(name, value) for name, value in headers if name not in names]


def new_request_id() -> str:
    """Return a random UUID."""
    return str(uuid.uuid4())

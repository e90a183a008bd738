"""Is a request one that the agent takes?  Pure; what h11 lets pass is judged here."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

import attrs

from smartmob_agent.http.asgi import Headers
from smartmob_agent.http.body_limits import Bodies, BodyLimits
from smartmob_agent.http.headers import header_values, without_headers
from smartmob_agent.http.problems import Refusal

__all__ = ["CheckedRequest", "RefusedRequestError", "check_request"]

_ABSOLUTE = re.compile(rb"https?://([^/?]+)(.*)", re.IGNORECASE)
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.%a-z_~-]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")
"""RFC 3986, section 3.2.2, and a port."""
_LISTS = (b"connection", b"upgrade", b"sec-websocket-protocol", b"sec-websocket-extensions")
_WEBSOCKET_VERSION = b"13"


class RefusedRequestError(Exception):
    """A request that cannot be taken; `refusal` is the answer."""

    def __init__(self, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(detail)
        self.refusal = Refusal(status, detail, headers)


@attrs.frozen(kw_only=True)
class CheckedRequest:
    """A request whose framing has one meaning only.

    target: path and query; or `*`.
    """

    method: str
    target: bytes
    headers: Headers
    websocket: bool
    body: BodyLimits


def check_request(
    method: bytes,
    target: bytes,
    headers: Headers,
    version: bytes,
    *,
    header_bytes: int,
    bodies: Bodies,
) -> CheckedRequest:
    """Check the head of a request.

    headers: names in lower case.
    Raises `RefusedRequestError`.
    """
    if version not in (b"1.0", b"1.1"):
        raise RefusedRequestError(505, "expected HTTP/1.0 or HTTP/1.1, found another version")
    size = len(method) + len(target) + sum(len(name) + len(value) + 4 for name, value in headers)
    if size > header_bytes:
        raise RefusedRequestError(431, f"expected headers of at most {header_bytes} bytes")
    target, headers = _check_target(method, target, headers)
    name = method.decode("ascii").upper()
    body = bodies.limits_of(name, target)
    _check_framing(headers, version, body.size_bytes)
    websocket = _wants_websocket(method, headers)
    if websocket:
        headers = _merge_lists(headers)
        _check_upgrade(headers, version)
    return CheckedRequest(
        method=name,
        target=target,
        headers=headers,
        websocket=websocket,
        body=body,
    )


def _check_framing(headers: Headers, version: bytes, body_bytes: int) -> None:
    """RFC 9112, section 6.1: who sends both lengths may be smuggling a request."""
    lengths = header_values(headers, b"content-length")
    if header_values(headers, b"transfer-encoding"):
        if lengths:
            raise RefusedRequestError(400, "found both Content-Length and Transfer-Encoding")
        if version == b"1.0":
            raise RefusedRequestError(400, "found Transfer-Encoding in an HTTP/1.0 request")
    if lengths and int(lengths[0]) > body_bytes:
        raise RefusedRequestError(413, f"expected a body of at most {body_bytes} bytes")


def _check_target(method: bytes, target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """RFC 9112, section 3.2: of the forms of a target the Host of an absolute one counts."""
    if match := _ABSOLUTE.fullmatch(target):
        target = match[2] if match[2].startswith(b"/") else b"/" + match[2]
        headers = [*without_headers(headers, b"host"), (b"host", match[1])]
    is_path = target.startswith(b"/") and b"#" not in target
    if not is_path and (method, target) != (b"OPTIONS", b"*"):
        raise RefusedRequestError(400, "expected a path as the target of the request")
    if not all(_HOST.fullmatch(host) for host in header_values(headers, b"host")):
        raise RefusedRequestError(400, "expected a host and a port in the Host header")
    return target, headers


def _tokens(values: Iterable[bytes]) -> list[bytes]:
    return [token.strip().lower() for value in values for token in value.split(b",")]


def _wants_websocket(method: bytes, headers: Headers) -> bool:
    return (
        method == b"GET"
        and b"upgrade" in _tokens(header_values(headers, b"connection"))
        and b"websocket" in _tokens(header_values(headers, b"upgrade"))
    )


def _merge_lists(headers: Headers) -> Headers:
    """Join the lines of headers that are lists: RFC 9110, section 5.3."""
    joined = {name: b", ".join(header_values(headers, name)) for name in _LISTS}
    joined[b"upgrade"] = b"websocket"
    return without_headers(headers, *_LISTS) + [
        (name, value) for name, value in joined.items() if value
    ]


def _check_upgrade(headers: Headers, version: bytes) -> None:
    """RFC 6455, section 4.2.1."""
    if version != b"1.1":
        raise RefusedRequestError(400, "expected HTTP/1.1 for a WebSocket")
    if header_values(headers, b"content-length") or header_values(headers, b"transfer-encoding"):
        raise RefusedRequestError(400, "found a body in a request for a WebSocket")
    if header_values(headers, b"sec-websocket-version") != [_WEBSOCKET_VERSION]:
        raise RefusedRequestError(
            426,
            "expected Sec-WebSocket-Version: 13",
            (b"sec-websocket-version", _WEBSOCKET_VERSION),
            (b"upgrade", b"websocket"),
        )
    keys = header_values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise RefusedRequestError(400, "expected one Sec-WebSocket-Key of 16 bytes in base64")
    if not all(value.isascii() for name in _LISTS for value in header_values(headers, name)):
        raise RefusedRequestError(400, "expected ASCII in the headers of a WebSocket")


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False

"""The problems that the HTTP API answers with, as its description tells them.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from smartmob_agent.api.query import DETAIL
from smartmob_agent.errors import (
    BadRequestError,
    BodyTooLargeError,
    ProcessNotFoundError,
    RequestError,
    SlugInUseError,
    StoppingError,
)
from smartmob_agent.http.problems import problem, problem_of
from smartmob_agent.http.refusals import plain_refusal
from smartmob_agent.process.states import State, WrongStateError

__all__ = ["ANYWHERE", "PROBLEMS", "WITH_TOKENS", "ProblemReply"]

_SLUG = "hello.web.0"


@attrs.frozen(kw_only=True)
class ProblemReply:
    """A problem, with an example of it.

    headers: names of what comes with it.
    """

    about: str
    example: Mapping[str, Any]
    headers: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        return int(self.example["status"])


def _of(about: str, error: RequestError) -> ProblemReply:
    return ProblemReply(about=about, example=problem_of(error))


def _plain(about: str, status: int, detail: str, *headers: str) -> ProblemReply:
    return ProblemReply(about=about, example=problem(status, detail), headers=headers)


def _refused(about: str, status: int) -> ProblemReply:
    return _plain(about, status, plain_refusal(status).detail)


PROBLEMS: Mapping[str, ProblemReply] = {
    "BadRequest": _of(
        "Something in the request is not as it must be; `errors` names each fault.",
        BadRequestError(DETAIL, ["expected a number from 0, found 'x' @ tail"]),
    ),
    "Unauthorized": _plain(
        "A token is missing or wrong.", 401, "expected a bearer token", "WWW-Authenticate"
    ),
    "Forbidden": _plain(
        "The request is not meant for this agent: by its Host or its Origin.",
        403,
        "expected no Origin but the agent's own, found 'null'",
    ),
    "NotFound": _of("There is no such process.", ProcessNotFoundError("nobody")),
    "RequestTimeout": _refused("The request came too slowly.", 408),
    "SlugInUse": _of("A process of this slug exists, in whatever state.", SlugInUseError(_SLUG)),
    "WrongState": _of(
        "It cannot be done in the state in which the process is.",
        WrongStateError("with a child that runs", State.BACKOFF),
    ),
    "ContentTooLarge": _of("The body is over its limit.", BodyTooLargeError(1024 * 1024)),
    "UnprocessableContent": _plain(
        "The body is no archive.", 422, "expected a zip or tar archive, found an HTML page"
    ),
    "UpgradeRequired": _plain(
        "It is no handshake of a WebSocket.",
        426,
        "expected a WebSocket handshake, found a plain GET",
        "Upgrade",
    ),
    "TooManyRequests": _plain(
        "Too many wrong tokens came from this address.",
        429,
        "too many wrong tokens came from this address",
        "Retry-After",
    ),
    "HeadersTooLarge": _refused("The headers are over their limit.", 431),
    "Defect": _plain(
        "A defect of the agent; its log says more.",
        500,
        "a defect of the agent: its log says more of request 3f8b2c1e",
    ),
    "NotImplemented": _refused("The body comes in a coding that is not known.", 501),
    "Stopping": _of("The agent is stopping.", StoppingError()),
    "VersionNotSupported": _plain(
        "It is not HTTP/1.", 505, "expected HTTP/1.0 or HTTP/1.1, found another version"
    ),
    "InsufficientStorage": _plain("The disk is full.", 507, "the disk of the agent is full"),
}
"""Name → problem."""

ANYWHERE = (
    "BadRequest",
    "Forbidden",
    "RequestTimeout",
    "ContentTooLarge",
    "HeadersTooLarge",
    "Defect",
    "NotImplemented",
    "VersionNotSupported",
)
"""What any request may get, mostly before it reaches its route."""

WITH_TOKENS = ("Unauthorized", "TooManyRequests")
"""What any request may get besides, where a token is asked for."""

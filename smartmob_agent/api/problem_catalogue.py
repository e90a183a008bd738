"""The problems that more than one route may answer with, as the description tells them.  Pure.

What only one resource answers with stands beside its routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from smartmob_agent.api.kinds import QUERY_DETAIL
from smartmob_agent.api.schemas import Document, count, document, text
from smartmob_agent.errors import (
    BadRequestError,
    BodyTooLargeError,
    OwnedError,
    ProcessNotFoundError,
    RequestError,
    StoppingError,
)
from smartmob_agent.http.problems import plain_refusal, problem, problem_of
from smartmob_agent.state.seam import StateFullError

__all__ = [
    "ANYWHERE",
    "NOT_FOUND",
    "OWNED",
    "PROBLEM",
    "STATE_FULL",
    "STOPPING",
    "WITH_TOKENS",
    "ProblemReply",
    "internal_error_detail",
]

PROBLEM = Document(
    name="Problem",
    schema=document(
        "What went wrong: RFC 9457.",
        optional=("errors", "release", "step", "lines"),
        type={"const": "about:blank", "description": "The status says it all."},
        title=text("The phrase of the status."),
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail=text("What was expected and found: one line for a human."),
        errors={
            "type": "array",
            "description": "One line for each fault of the request.",
            "items": text(),
            "minItems": 1,
        },
        release=count("That was on its way.", minimum=1),
        step=text("Of a new version: which one failed."),
        lines={
            "type": "array",
            "description": "The last lines of the output of what failed.",
            "items": text(),
        },
    ),
)


@attrs.frozen(eq=False, kw_only=True)
class ProblemReply:
    """A problem, with an example of it.

    name: in the description.
    headers: names of what comes with it.
    """

    name: str
    about: str
    example: Mapping[str, Any]
    headers: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, about: str, error: RequestError) -> ProblemReply:
        """Return the problem that an error becomes."""
        return cls(name=name, about=about, example=problem_of(error))

    @classmethod
    def plain(
        cls, name: str, about: str, status: int, detail: str, headers: tuple[str, ...] = ()
    ) -> ProblemReply:
        """Return one that is no error of ours."""
        return cls(name=name, about=about, example=problem(status, detail), headers=headers)

    @property
    def status(self) -> int:
        return int(self.example["status"])


def _refused(name: str, about: str, status: int) -> ProblemReply:
    return ProblemReply.plain(name, about, status, plain_refusal(status).detail)


def internal_error_detail(request_id: str) -> str:
    """Return the detail of a 500."""
    return f"internal error: the log of the agent says more of request {request_id}"


NOT_FOUND = ProblemReply.of("NotFound", "There is no such process.", ProcessNotFoundError("nobody"))
OWNED = ProblemReply.of("Owned", "It belongs to an app.", OwnedError("hello.web.0", "hello"))
STOPPING = ProblemReply.of("Stopping", "The agent is stopping.", StoppingError())

ANYWHERE = (
    ProblemReply.of(
        "BadRequest",
        "Something in the request is not as it must be; `errors` names each fault.",
        BadRequestError(QUERY_DETAIL, ["expected a number from 0, found 'x' @ tail"]),
    ),
    ProblemReply.plain(
        "Forbidden",
        "The request is not meant for this agent: by its Host or its Origin.",
        403,
        "expected no Origin but the agent's own, found 'null'",
    ),
    _refused("RequestTimeout", "The request came too slowly.", 408),
    ProblemReply.of(
        "ContentTooLarge", "The body is over its limit.", BodyTooLargeError(1024 * 1024)
    ),
    _refused("HeadersTooLarge", "The headers are over their limit.", 431),
    ProblemReply.plain(
        "InternalError",
        "An internal error; the log of the agent says more.",
        500,
        internal_error_detail("3f8b2c1e"),
    ),
    _refused("NotImplemented", "The body comes in a coding that is not known.", 501),
    ProblemReply.plain(
        "VersionNotSupported",
        "It is not HTTP/1.",
        505,
        "expected HTTP/1.0 or HTTP/1.1, found another version",
    ),
)
"""What any request may get, mostly before it reaches its route."""

WITH_TOKENS = (
    ProblemReply.plain(
        "Unauthorized",
        "A token is missing or wrong.",
        401,
        "expected a bearer token",
        ("WWW-Authenticate",),
    ),
    ProblemReply.plain(
        "TooManyRequests",
        "Too many wrong tokens came from this address.",
        429,
        "too many wrong tokens came from this address",
        ("Retry-After",),
    ),
)
"""What any request may get besides, where a token is asked for."""
STATE_FULL = ProblemReply.of(
    "StateFull",
    "There is no room to keep it, so nothing has changed.",
    StateFullError("the disk of the state is full"),
)

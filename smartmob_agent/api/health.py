"""Whether the agent lives, and whether it takes new processes: for those who look after it."""

from __future__ import annotations

from smartmob_agent.api.problem_catalogue import STOPPING, ProblemReply
from smartmob_agent.api.route import Answer, ApiContext, Request, Route, json_answer, json_reply
from smartmob_agent.api.schemas import Document, document
from smartmob_agent.errors import RequestError, StoppingError

__all__ = ["ROUTES"]

_NEVER_KEPT = {"Cache-Control": "no-store"}
_HEALTH = Document(name="Health", schema=document("The agent lives.", status={"const": "alive"}))
_READY = Document(
    name="Ready",
    schema=document("The agent takes new processes.", status={"const": "ready"}),
)


async def _health(_context: ApiContext, _request: Request) -> Answer:
    # That there is an answer is all that it says.
    return json_answer(200, {"status": "alive"}, _NEVER_KEPT)


class RestoringError(RequestError):
    """Processes of an earlier life of the agent are on their way."""

    status = 503

    def __init__(self) -> None:
        super().__init__("the agent brings back the processes that it had, and is not done")


_RESTORING = ProblemReply.of(
    "Restoring", "Not everything that outlived the agent was started.", RestoringError()
)


async def _ready(context: ApiContext, _request: Request) -> Answer:
    if context.supervisor.stopping:
        raise StoppingError
    if context.supervisor.is_restoring:
        raise RestoringError
    return json_answer(200, {"status": "ready"}, _NEVER_KEPT)


ROUTES = (
    Route(
        method="GET",
        path="/health",
        handle=_health,
        id="getHealth",
        tag="agent",
        summary="Learn whether the agent lives",
        replies={200: json_reply("It does.", _HEALTH, headers=("Cache-Control",))},
        open=True,
        any_host=True,
        quiet=True,
    ),
    Route(
        method="GET",
        path="/ready",
        handle=_ready,
        id="getReady",
        tag="agent",
        summary="Learn whether the agent takes new processes",
        replies={200: json_reply("It does.", _READY, headers=("Cache-Control",))},
        problems=(STOPPING, _RESTORING),
        open=True,
        any_host=True,
        quiet=True,
    ),
)

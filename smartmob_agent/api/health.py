"""Whether the agent lives, and whether it takes new processes: for those who look after it."""

from __future__ import annotations

from collections.abc import Sequence

from smartmob_agent.api.route import Answer, Request, Route, json_answer
from smartmob_agent.errors import StoppingError
from smartmob_agent.process.supervisor import Supervisor

__all__ = ["health_routes"]

_NEVER_KEPT = {"Cache-Control": "no-store"}


def health_routes(supervisor: Supervisor) -> Sequence[Route]:
    """Return the routes that need no token."""

    async def health(_request: Request) -> Answer:
        # That there is an answer is all that it says.
        return json_answer(200, {"status": "alive"}, _NEVER_KEPT)

    async def ready(_request: Request) -> Answer:
        if supervisor.stopping:
            raise StoppingError
        return json_answer(200, {"status": "ready"}, _NEVER_KEPT)

    return Route("GET", "/health", health), Route("GET", "/ready", ready)

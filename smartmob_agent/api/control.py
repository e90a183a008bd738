"""The routes by which a process is started again or sent a signal."""

from __future__ import annotations

from collections.abc import Sequence

from smartmob_agent.api.documents import (
    parse_empty_request,
    parse_signal_request,
    process_status,
)
from smartmob_agent.api.query import SWITCH, QueryOption, parse_query
from smartmob_agent.api.route import Answer, Request, Route, json_answer
from smartmob_agent.process.supervisor import Supervisor

__all__ = ["RESTART_OPTIONS", "control_routes"]

RESTART_OPTIONS = {
    "wait": QueryOption(
        kind=SWITCH, default=0, about="1: answer when it is known what has become of it."
    )
}


def control_routes(supervisor: Supervisor) -> Sequence[Route]:
    """Return the routes of control."""

    async def restart(request: Request) -> Answer:
        """202 at once; with `wait=1` 200, when it is known what has become of it."""
        wait = parse_query(request.query, RESTART_OPTIONS).get("wait", False)
        parse_empty_request(await request.read_body())
        process = supervisor.get(request.slug)
        starts = process.starts
        process.restart()
        if wait:
            # The restart goes on if the client leaves.
            await process.wait_started(starts)
        return json_answer(200 if wait else 202, process_status(process, request.links))

    async def send_signal(request: Request) -> Answer:
        number = parse_signal_request(await request.read_body())
        supervisor.get(request.slug).send_signal(number)
        return json_answer(200, {})

    return (
        Route("POST", "/restart-process/<slug>", restart),
        Route("POST", "/signal-process/<slug>", send_signal),
    )

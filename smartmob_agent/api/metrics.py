"""The route of metrics, which Prometheus asks every few seconds."""

from __future__ import annotations

from smartmob_agent.api.route import TEXT_SCHEMA, Answer, ApiContext, Reply, Request, Route

__all__ = ["ROUTES"]


async def _show_metrics(context: ApiContext, request: Request) -> Answer:
    body, media_type = await context.metrics.scrape(request.headers.get("accept", ""))
    return Answer(body=body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


ROUTES = (
    # It needs a token as all others do, since metrics name the processes.
    Route(
        method="GET",
        path="/metrics",
        handle=_show_metrics,
        id="getMetrics",
        tag="agent",
        summary="Read the metrics, as Prometheus does",
        replies={
            200: Reply(
                "The metrics.",
                {"text/plain": TEXT_SCHEMA, "application/openmetrics-text": TEXT_SCHEMA},
                headers=("Cache-Control",),
            )
        },
        quiet=True,
        # One that is not registered is named by a URI: RFC 8288, section 2.1.2.
        relation="smartmob:metrics",
    ),
)

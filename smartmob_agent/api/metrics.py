"""The route of metrics, which Prometheus asks every few seconds."""

from __future__ import annotations

from collections.abc import Sequence

from smartmob_agent.api.route import Answer, Request, Route
from smartmob_agent.metrics.agent import Metrics

__all__ = ["metrics_routes"]


def metrics_routes(metrics: Metrics) -> Sequence[Route]:
    """Return the route; it needs a token as all others do, since metrics name the processes."""

    async def show_metrics(request: Request) -> Answer:
        body, media_type = await metrics.scrape(request.headers.get("accept", ""))
        return Answer(body=body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})

    return (Route("GET", "/metrics", show_metrics),)

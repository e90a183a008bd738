"""What a shell offers to complete: slugs of the agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from smartmob_agent.client import ClientError, open_client
from smartmob_agent.command.failure import CommandError
from smartmob_agent.command.settings import find_agents

__all__ = ["slugs"]

_TIMEOUT = 2.0
"""Seconds: a human waits with a finger on the key."""


def slugs(environ: Mapping[str, str], agents: Sequence[str], incomplete: str) -> list[str]:
    """Return the slugs that begin so; none when the agent does not answer."""

    async def ask() -> list[str]:
        with trio.fail_after(_TIMEOUT):
            settings = find_agents(environ, agents=agents)[0]
            async with open_client(
                settings.url, token=settings.token, tls=settings.tls()
            ) as client:
                return [process.slug for process in await client.list_processes()]

    try:
        return [slug for slug in trio.run(ask) if slug.startswith(incomplete)]
    except (ClientError, CommandError, trio.TooSlowError):
        return []

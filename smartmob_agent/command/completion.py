"""What a shell offers to complete: slugs of the agent, names of agents, states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from smartmob_agent.client import ClientError, open_client
from smartmob_agent.client.documents import STATES
from smartmob_agent.command.failure import CommandError
from smartmob_agent.command.settings import agent_names, find_agents

__all__ = ["agents", "slugs", "states"]

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
        return _fitting(trio.run(ask), incomplete)
    except (ClientError, CommandError, trio.TooSlowError):
        return []


def agents(environ: Mapping[str, str], incomplete: str) -> list[str]:
    """Return the names in the file that begin so; none when it cannot be read."""
    try:
        return _fitting(agent_names(environ), incomplete)
    except CommandError:
        return []


def states(incomplete: str) -> list[str]:
    """Return the states that begin so."""
    return _fitting(STATES, incomplete)


def _fitting(words: Sequence[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]

"""What a shell offers to complete: slugs of the agent, names of agents, states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from smartmob_agent.client import ClientError, open_client
from smartmob_agent.client.documents import STATES
from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.settings import Settings, agent_names, find_agents

__all__ = ["agents", "slugs", "states"]

_TIMEOUT = 2.0
"""Seconds: a human waits with a finger on the key."""


def slugs(
    environ: Mapping[str, str],
    incomplete: str,
    *,
    agents: Sequence[str] = (),
    token_file: Path | None = None,
) -> list[str]:
    """Return the slugs that begin so, of all agents that are meant and answer."""
    found: set[str] = set()

    async def ask(agent: Settings) -> None:
        with suppress(ClientError, CommandError):
            async with open_client(agent.url, token=agent.token, tls=agent.tls()) as client:
                found.update(process.slug for process in await client.list_processes())

    async def ask_all(meant: Sequence[Settings]) -> None:
        with trio.move_on_after(_TIMEOUT):
            async with trio.open_nursery() as nursery:
                for agent in meant:
                    nursery.start_soon(ask, agent)

    with suppress(CommandError):
        trio.run(ask_all, find_agents(environ, agents=agents, token_file=token_file))
    return _fitting(sorted(found), incomplete)


def agents(environ: Mapping[str, str], incomplete: str) -> list[str]:
    """Return the names in the file that begin so; none when it cannot be read."""
    try:
        return _fitting(agent_names(environ), incomplete)
    except CommandError:
        return []


def states(incomplete: str) -> list[str]:
    """Return the states that begin so; not those with a blank, which bash would not quote."""
    return _fitting([state for state in STATES if " " not in state], incomplete)


def _fitting(words: Sequence[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]

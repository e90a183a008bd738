"""What a shell may complete: slugs of the agents, names of agents, states, signals."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from smartmob_agent.client_cli.failure import CommandError

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = [
    "VARIABLE",
    "complete_agent",
    "complete_app",
    "complete_signal",
    "complete_slug",
    "complete_state",
]

VARIABLE = "_SMARTMOB_COMPLETE"
"""The environment variable by which the script in a shell asks for completions."""
_TIMEOUT = 2.0
"""Seconds to wait for agents: the user has pressed a key and waits."""


def complete_agent(_context: object, _parameter: object, incomplete: str) -> list[str]:
    """Return the names in the configuration; none if the file is unreadable."""
    from smartmob_agent.client_cli.settings import agent_names

    with suppress(CommandError):
        return _matching(agent_names(os.environ), incomplete)
    return []


def complete_signal(_context: object, _parameter: object, incomplete: str) -> list[str]:
    """Return the signals of this machine, most of which any machine has."""
    import signal

    names = [number.name.removeprefix("SIG") for number in signal.Signals]
    return _matching(names, incomplete)


def complete_slug(context: Any, _parameter: object, incomplete: str) -> list[str]:
    """Return the slugs of the agents; those of agents that do not answer are missing.

    context: of click, with the words before this one; its parent has those before the subcommand.
    """

    async def slugs(client: Client) -> list[str]:
        return [process.slug for process in await client.list_processes()]

    return _matching(_ask(context, slugs), incomplete)


def complete_app(context: Any, _parameter: object, incomplete: str) -> list[str]:
    """Return the names of apps, as `complete_slug` does slugs."""

    async def names(client: Client) -> list[str]:
        return [app.app for app in await client.apps.list_all()]

    return _matching(_ask(context, names), incomplete)


def _ask(context: Any, list_of: Callable[[Client], Awaitable[list[str]]]) -> list[str]:
    """Return what the agents answer that are meant by the words before this one."""
    from smartmob_agent.client_cli.settings import find_agents

    given = {**context.parent.params, **{k: v for k, v in context.params.items() if v}}
    with suppress(CommandError):
        agents = find_agents(
            os.environ, agents=given["agents"] or (), token_file=given["token_file"]
        )
        return _list(agents, list_of)
    return []


def complete_state(_context: object, _parameter: object, incomplete: str) -> list[str]:
    """Return the states without a space, which bash would not quote."""
    from smartmob_agent.client.documents import STATES

    return _matching([state for state in STATES if " " not in state], incomplete)


def _list(
    agents: Sequence[Settings], list_of: Callable[[Client], Awaitable[list[str]]]
) -> list[str]:
    import trio

    from smartmob_agent.client import ClientError, open_client

    names: set[str] = set()

    async def list_names(agent: Settings) -> None:
        with suppress(ClientError, CommandError):
            async with open_client(agent.url, token=agent.token, tls=agent.tls()) as client:
                names.update(await list_of(client))

    async def list_all() -> None:
        with trio.move_on_after(_TIMEOUT):
            async with trio.open_nursery() as nursery:
                for agent in agents:
                    nursery.start_soon(list_names, agent)

    trio.run(list_all)
    return sorted(names)


def _matching(words: Sequence[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]

"""Change how many processes an app has of each type.

Followed as by deploy.  The highest numbers go first when fewer are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.commands.deploy import read_counts
from smartmob_agent.client_cli.options import agent_options, app_argument, wait_option
from smartmob_agent.client_cli.runner import detachable, run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@app_argument
@click.argument("counts", type=read_counts, nargs=-1, required=True, metavar="TYPE=N...")
@wait_option
@agent_options
def command(
    agents: Sequence[str],
    token_file: str | None,
    as_json: bool,
    app: str,
    counts: Sequence[Mapping[str, int]],
    wait: bool,
) -> int:
    agent = select_agent(agents, token_file)
    merged = {kind: count for one in counts for kind, count in one.items()}
    return run(partial(_scale, agent, app, merged, wait=wait, as_json=as_json))


async def _scale(
    agent: Settings, app: str, counts: Mapping[str, int], *, wait: bool, as_json: bool
) -> int:
    from smartmob_agent.client_cli.rollouts import change_app, for_app

    body = {"processes": {kind: {"count": count} for kind, count in counts.items()}}

    async def work(client: Client) -> int:
        change = partial(client.apps.patch, app, body)
        return await change_app(client, app, change, wait=wait, as_json=as_json)

    with detachable():
        return await with_client(agent, lambda client: for_app(work(client)))

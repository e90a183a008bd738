"""Go back to an earlier release of an app.

By default to the last one before that which serves.  Followed as by deploy; no server is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.options import agent_options, app_argument, wait_option
from smartmob_agent.client_cli.runner import detachable, run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@app_argument
@click.argument("release", type=click.IntRange(1), required=False, metavar="[RELEASE]")
@wait_option
@agent_options
def command(
    agents: Sequence[str],
    token_file: str | None,
    as_json: bool,
    app: str,
    release: int | None,
    wait: bool,
) -> int:
    agent = select_agent(agents, token_file)
    return run(partial(_roll_back, agent, app, release, wait=wait, as_json=as_json))


async def _roll_back(
    agent: Settings, app: str, release: int | None, *, wait: bool, as_json: bool
) -> int:
    from smartmob_agent.client_cli.rollouts import change_app, for_app

    async def work(client: Client) -> int:
        change = partial(client.apps.roll_back, app, release)
        return await change_app(client, app, change, wait=wait, as_json=as_json)

    with detachable():
        return await with_client(agent, lambda client: for_app(work(client)))

"""Show the names of an app's variables, or change some.

K=V sets a variable, which makes a new release, followed as by deploy.  Values are never shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.options import agent_options, app_argument, wait_option
from smartmob_agent.client_cli.output import write_json, write_rows
from smartmob_agent.client_cli.runner import detachable, run, select_agent, with_client
from smartmob_agent.client_cli.variables import read_variables

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@app_argument
@click.argument("given", nargs=-1, metavar="[K=V...]")
@click.option("--unset", multiple=True, metavar="K", help="Remove a variable.")
@wait_option
@agent_options
def command(
    agents: Sequence[str],
    token_file: str | None,
    as_json: bool,
    app: str,
    given: Sequence[str],
    unset: Sequence[str],
    wait: bool,
) -> int:
    agent = select_agent(agents, token_file)
    changes = {**dict.fromkeys(unset), **read_variables(given, (), os.environ)}
    return run(partial(_configure, agent, app, changes, wait=wait, as_json=as_json))


async def _configure(
    agent: Settings, app: str, changes: Mapping[str, str | None], *, wait: bool, as_json: bool
) -> int:
    from smartmob_agent.client_cli.rollouts import change_app, for_app

    async def work(client: Client) -> int:
        if changes:
            change = partial(client.apps.patch, app, {"env": changes})
            return await change_app(client, app, change, wait=wait, as_json=as_json)
        names = (await client.apps.get(app)).document["wanted"]["env"]
        if as_json:
            write_json({"env": names})
        else:
            write_rows([[name] for name in names])
        return 0

    with detachable():
        return await with_client(agent, lambda client: for_app(work(client)))

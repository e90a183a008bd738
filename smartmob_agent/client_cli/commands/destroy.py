"""Delete an app with all its processes and releases.

Asks first on a terminal.  The name is written when nothing of it is left.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.failure import WRONG_USE, CommandError
from smartmob_agent.client_cli.options import agent_options, app_argument
from smartmob_agent.client_cli.output import write_json, write_rows
from smartmob_agent.client_cli.runner import run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@app_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@agent_options
def command(
    agents: Sequence[str], token_file: str | None, as_json: bool, app: str, yes: bool
) -> int:
    agent = select_agent(agents, token_file)
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError("nobody can be asked: --yes is needed", code=WRONG_USE)
        click.confirm(f"Delete {app} with all its processes on {agent.name}?", abort=True, err=True)
    return run(partial(_destroy, agent, app, as_json=as_json))


async def _destroy(agent: Settings, app: str, *, as_json: bool) -> int:
    from smartmob_agent.client_cli.rollouts import for_app

    async def work(client: Client) -> int:
        await client.apps.delete(app)
        write_json({"deleted": app}, indent=None) if as_json else write_rows([[app]])
        return 0

    return await with_client(agent, lambda client: for_app(work(client)))

"""Start a process again, now.

Ends with 0 when it has run for a second; else with 1, and stderr says why and shows its last lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.options import agent_options, slug_argument
from smartmob_agent.client_cli.output import write_json, write_rows
from smartmob_agent.client_cli.runner import run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@slug_argument
@agent_options
def command(agents: Sequence[str], token_file: str | None, as_json: bool, slug: str) -> int:
    return run(partial(_restart, select_agent(agents, token_file), slug, as_json=as_json))


async def _restart(agent: Settings, slug: str, *, as_json: bool) -> int:
    from smartmob_agent.client import ProcessFailedError
    from smartmob_agent.client_cli.startup import check_start

    async def work(client: Client) -> int:
        process = await client.restart(slug, wait=True)
        if as_json:
            write_json(process.document)
        else:
            write_rows([[process.slug, process.state]])
        if process.state != "running":
            raise ProcessFailedError(slug, process.state, process.error)
        return await check_start(client, slug, restarts=process.restarts, pid=process.pid)

    return await with_client(agent, work, slug=slug)

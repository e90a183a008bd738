"""Send a signal to a process.

By its name, such as HUP or SIGHUP.  If the child ends by it, it is started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.completion import complete_signal
from smartmob_agent.client_cli.options import agent_options, slug_argument
from smartmob_agent.client_cli.output import write_json, write_rows
from smartmob_agent.client_cli.runner import run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@slug_argument
@click.argument("name", metavar="SIGNAL", shell_complete=complete_signal)
@agent_options
def command(
    agents: Sequence[str], token_file: str | None, as_json: bool, slug: str, name: str
) -> int:
    agent = select_agent(agents, token_file)
    return run(partial(_send_signal, agent, slug, name, as_json=as_json))


async def _send_signal(agent: Settings, slug: str, name: str, *, as_json: bool) -> int:
    async def work(client: Client) -> int:
        await client.send_signal(slug, name)
        if as_json:
            write_json({"slug": slug, "signal": name}, indent=None)
        else:
            write_rows([[slug, name]])
        return 0

    return await with_client(agent, work, slug=slug)

"""Open the agent in a browser.

Writes its URL; a browser is opened on a terminal alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from smartmob_agent.client_cli.failure import FAILED, CommandError, explain
from smartmob_agent.client_cli.options import agent_options
from smartmob_agent.client_cli.output import is_terminal, write_json, write_rows
from smartmob_agent.client_cli.runner import select_agent

__all__ = ["command"]


@click.command(help=__doc__)
@click.option("--print", "only_print", is_flag=True, help="Write the URL, open no browser.")
@agent_options
def command(agents: Sequence[str], token_file: str | None, as_json: bool, only_print: bool) -> int:
    import webbrowser

    from smartmob_agent.client import AddressError
    from smartmob_agent.client.address import parse_address

    agent = select_agent(agents, token_file)
    try:
        address = parse_address(agent.url)
    except AddressError as exc:
        raise explain(exc) from exc
    if address.unix is not None:
        raise CommandError(
            f"no browser reaches {agent.url}: expected an agent with http or https", code=FAILED
        )
    if as_json:
        write_json({"url": address.base})
        return 0
    write_rows([[address.base]])
    if is_terminal() and not only_print:
        webbrowser.open(address.base)
    return 0

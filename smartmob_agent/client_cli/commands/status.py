"""Show one process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.options import agent_options, slug_argument
from smartmob_agent.client_cli.output import format_cell, is_terminal, write_json, write_rows
from smartmob_agent.client_cli.runner import run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@slug_argument
@agent_options
def command(agents: Sequence[str], token_file: str | None, as_json: bool, slug: str) -> int:
    return run(partial(_show_status, select_agent(agents, token_file), slug, as_json=as_json))


async def _show_status(agent: Settings, slug: str, *, as_json: bool) -> int:
    async def work(client: Client) -> int:
        process = await client.status(slug)
        if as_json:
            write_json(process.document)
            return 0
        document = {**process.document, "exit": process.exit}
        pairs = [(name, format_cell(value)) for name, value in document.items()]
        if is_terminal():
            from smartmob_agent.client_cli.terminal import show_pairs

            show_pairs(pairs)
        else:
            write_rows(pairs)
        return 0

    return await with_client(agent, work, slug=slug)

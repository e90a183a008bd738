"""List the releases of an app, the newest first.

In a pipe: release, outcome, creation, source, what it repeats and error, with tabs between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.options import agent_options, app_argument
from smartmob_agent.client_cli.output import format_cell, is_terminal, write_json, write_rows
from smartmob_agent.client_cli.runner import run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@app_argument
@agent_options
def command(agents: Sequence[str], token_file: str | None, as_json: bool, app: str) -> int:
    return run(partial(_list_releases, select_agent(agents, token_file), app, as_json=as_json))


async def _list_releases(agent: Settings, app: str, *, as_json: bool) -> int:
    from smartmob_agent.client_cli.rollouts import for_app

    async def work(client: Client) -> int:
        releases = await client.apps.releases(app)
        rows: list[list[object]] = [
            [
                one.release,
                one.outcome,
                one.document["created_at"],
                one.source_url,
                one.rollback_of,
                one.error,
            ]
            for one in releases
        ]
        if as_json:
            write_json({"releases": [one.document for one in releases]})
        elif is_terminal():
            from smartmob_agent.client_cli.terminal import show_table

            header = ["RELEASE", "OUTCOME", "CREATED", "SOURCE", "REPEATS", "ERROR"]
            show_table(header, [[format_cell(cell) for cell in row] for row in rows])
        else:
            write_rows(rows)
        return 0

    return await with_client(agent, lambda client: for_app(work(client)))

"""List apps.

In a pipe: app, release, rollout, counts, source and error, with tabs between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.options import agent_options
from smartmob_agent.client_cli.output import format_cell, is_terminal, write_json, write_rows
from smartmob_agent.client_cli.runner import run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import App, Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@agent_options
def command(agents: Sequence[str], token_file: str | None, as_json: bool) -> int:
    return run(partial(_list_apps, select_agent(agents, token_file), as_json=as_json))


async def _list_apps(agent: Settings, *, as_json: bool) -> int:
    async def work(client: Client) -> int:
        apps = await client.apps.list_all()
        if as_json:
            write_json({"apps": [app.document for app in apps]})
        elif is_terminal():
            from smartmob_agent.client_cli.terminal import show_table

            header = ["APP", "RELEASE", "ROLLOUT", "READY", "SOURCE", "ERROR"]
            show_table(header, [[format_cell(cell) for cell in _row(app)] for app in apps])
        else:
            write_rows(map(_row, apps))
        return 0

    return await with_client(agent, work)


def _row(app: App) -> list[object]:
    counts = ", ".join(
        f"{kind} {ready}/{wanted}" for kind, (wanted, _, ready) in app.counts.items()
    )
    rollout = app.rollout
    state = rollout.state if rollout.has_ended else f"{rollout.state} {rollout.release}"
    source = app.document["wanted"]["source_url"]
    return [app.app, app.release, state, counts, source, rollout.error]

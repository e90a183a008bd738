"""List processes.

In a pipe: slug, state, pid, restarts, start, exit, error, agent, port and ready, with tabs between
them.
--agent may be given more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.options import agent_options
from smartmob_agent.client_cli.output import (
    format_cell,
    is_terminal,
    report,
    report_as,
    write_json,
    write_rows,
)
from smartmob_agent.client_cli.runner import run, select_agents, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client, Process
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@agent_options
def command(agents: Sequence[str], token_file: str | None, as_json: bool) -> int:
    return run(partial(_list_processes, select_agents(agents, token_file), as_json=as_json))


async def _list_processes(agents: Sequence[Settings], *, as_json: bool) -> int:
    """Write the processes of all agents that answer; report the others on stderr."""
    import trio

    found: dict[str, list[Process]] = {}
    codes: list[int] = []

    async def list_of(agent: Settings) -> None:
        report_as(agent.name if len(agents) > 1 else "")

        async def work(client: Client) -> int:
            found[agent.name] = await client.list_processes()
            return 0

        try:
            await with_client(agent, work)
        except CommandError as error:
            report(error.line)
            codes.append(error.code)

    async with trio.open_nursery() as nursery:
        for agent in agents:
            nursery.start_soon(list_of, agent)
    rows = [(agent.name, process) for agent in agents for process in found.get(agent.name, ())]
    if found:
        _write(rows, as_json=as_json, many=len(agents) > 1)
    return max(codes, default=0)


def _write(rows: Sequence[tuple[str, Process]], *, as_json: bool, many: bool) -> None:
    if as_json:
        documents = [{**process.document, "agent": agent} for agent, process in rows]
        write_json({"processes": documents})
    elif is_terminal():
        _show(rows, many=many)
    else:
        write_rows(
            (
                process.slug,
                process.state,
                process.pid,
                process.restarts,
                process.document.get("started_at"),
                process.exit,
                process.error,
                agent,
                process.port,
                "ready" if process.ready else None,
            )
            for agent, process in rows
        )


def _show(rows: Sequence[tuple[str, Process]], *, many: bool) -> None:
    from smartmob_agent.client_cli.terminal import ago, show_table

    header = [
        *("SLUG", "STATE", "READY", "PORT", "PID", "RESTARTS", "STARTED", "EXIT"),
        *["AGENT"] * many,
        "ERROR",
    ]
    table = [
        [
            *map(format_cell, (process.slug, process.state)),
            "yes" if process.ready else "no" if process.state == "running" else "",
            *map(format_cell, (process.port, process.pid, process.restarts)),
            ago(process.started_at),
            format_cell(process.exit),
            *[agent] * many,
            format_cell(process.error),
        ]
        for agent, process in rows
    ]
    show_table(header, table)

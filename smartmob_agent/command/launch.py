"""A process from what is on this machine: `run`."""

from __future__ import annotations

from collections.abc import Mapping

from smartmob_agent.client import Client
from smartmob_agent.command.logs import show_logs
from smartmob_agent.command.output import write_json, write_rows
from smartmob_agent.command.runner import with_client
from smartmob_agent.command.settings import Settings
from smartmob_agent.command.source import app_name, source_url

__all__ = ["launch"]


async def launch(
    agent: Settings,
    source: str,
    *,
    process_type: str,
    app: str | None,
    node: str | None,
    env: Mapping[str, str],
    attach: bool,
    as_json: bool,
) -> int:
    """Create a process and write its slug; `attach` goes on with its output."""
    slugs: list[str] = []

    async def work(client: Client) -> int:
        process = await client.create(
            app=app or app_name(source),
            node=node or f"{process_type}.0",
            process_type=process_type,
            source_url=await source_url(client, source),
            env=env,
        )
        slugs.append(process.slug)
        if as_json:
            write_json(process.document, indent=None if attach else 2)
        else:
            write_rows([[process.slug]])
        return 0

    code = await with_client(agent, work)
    if attach:
        return await show_logs([agent], slugs, follow=True, tail=None, as_json=as_json)
    return code

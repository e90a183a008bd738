"""A process from what is on this machine: `run`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import trio

from smartmob_agent.client import Client
from smartmob_agent.command.logs import show_logs
from smartmob_agent.command.output import note, write_json, write_rows
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
    """Create a process, write its slug, and wait until it runs.

    attach: go on with its output, from the first line.
    """
    slugs: list[str] = []

    async def create(client: Client) -> int:
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

    async def watch(client: Client) -> int:
        if await client.wait_state(slugs[0], "running", "backoff") == "backoff":
            error = (await client.status(slugs[0])).error
            note(f"{slugs[0]}: {error}; it is tried again")
        return 0

    await with_client(agent, create)
    if not attach:
        return await with_client(agent, watch, slug=slugs[0])
    async with trio.open_nursery() as nursery:
        # A process that fails before it runs has no output that would ever end.
        nursery.start_soon(partial(with_client, agent, watch, slug=slugs[0]))
        code = await show_logs([agent], slugs, follow=True, tail=None, as_json=as_json)
        nursery.cancel_scope.cancel(reason="its output has ended")
    return code

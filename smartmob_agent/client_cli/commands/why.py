"""Tell why a process runs, or does not.

From facts only: its state, its last end, what it waits for, and its last lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.options import agent_options, slug_argument
from smartmob_agent.client_cli.output import write_json, write_text
from smartmob_agent.client_cli.runner import run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]

_LINES = 10


@click.command(help=__doc__)
@slug_argument
@agent_options
def command(agents: Sequence[str], token_file: str | None, as_json: bool, slug: str) -> int:
    return run(partial(_tell_why, select_agent(agents, token_file), slug, as_json=as_json))


async def _tell_why(agent: Settings, slug: str, *, as_json: bool) -> int:
    from smartmob_agent.client.why import is_well, why
    from smartmob_agent.client_cli.control_sequences import without_controls

    async def work(client: Client) -> int:
        status = (await client.status(slug)).document
        lines: list[str] = []
        if not is_well(status) and not status.get("last_crash"):
            lines = await _last_lines(client, slug)
        text = why(status, lines)
        if as_json:
            write_json({"slug": slug, "why": text, "status": dict(status)})
        else:
            write_text("".join(f"{without_controls(line)}\n" for line in text.splitlines()))
        return 0

    return await with_client(agent, work, slug=slug)


async def _last_lines(client: Client, slug: str) -> list[str]:
    data = b"".join([part.data async for part in client.log(slug, tail=_LINES)])
    return data.decode("utf-8", "replace").split("\n")[:-1]

"""Delete processes.

Each slug is written when nothing of its process is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from smartmob_agent.client_cli.failure import explain, suggest
from smartmob_agent.client_cli.options import agent_options, slugs_argument
from smartmob_agent.client_cli.output import report, write_json, write_rows
from smartmob_agent.client_cli.runner import run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@slugs_argument()
@click.option("--all", "everything", is_flag=True, help="All processes of the agent.")
@agent_options
def command(
    agents: Sequence[str],
    token_file: str | None,
    as_json: bool,
    slugs: Sequence[str],
    everything: bool,
) -> int:
    if bool(slugs) == everything:
        raise click.UsageError("expected either SLUG... or --all")
    agent = select_agent(agents, token_file)
    return run(partial(_delete, agent, slugs, everything=everything, as_json=as_json))


async def _delete(agent: Settings, slugs: Sequence[str], *, everything: bool, as_json: bool) -> int:
    """Delete processes, all at once; write each when nothing of it is left."""
    import trio

    from smartmob_agent.client import ClientError, NoSuchProcessError

    async def work(client: Client) -> int:
        known = [process.slug for process in await client.list_processes()]
        codes: list[int] = []

        async def delete(slug: str) -> None:
            try:
                await client.delete(slug)
            except ClientError as exc:
                error = explain(exc)
                if isinstance(exc, NoSuchProcessError):
                    error.hint = suggest(slug, known)
                report(error.line)
                codes.append(error.code)
            else:
                write_json({"deleted": slug}, indent=None) if as_json else write_rows([[slug]])

        async with trio.open_nursery() as nursery:
            for slug in known if everything else dict.fromkeys(slugs):
                nursery.start_soon(delete, slug)
        return max(codes, default=0)

    return await with_client(agent, work)

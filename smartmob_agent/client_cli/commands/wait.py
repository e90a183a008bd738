"""Wait until a process is in a state, or ready."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from smartmob_agent.client_cli.completion import complete_state
from smartmob_agent.client_cli.failure import TIMED_OUT, WRONG_USE, CommandError, suggest_word
from smartmob_agent.client_cli.options import Duration, agent_options, slug_argument
from smartmob_agent.client_cli.output import write_json, write_rows
from smartmob_agent.client_cli.runner import run, select_agent, with_client

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@slug_argument
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE",
    help="One of the states, or gone; may be given again.  [default: running]",
    shell_complete=complete_state,
)
@click.option("--ready", is_flag=True, help="Wait until its child counts as started well.")
@click.option(
    "--timeout",
    type=Duration(0),
    metavar="TIME",
    help="Give up after this time: seconds, or with a unit (90s, 5m, 1h).",
)
@agent_options
def command(agents: Sequence[str], token_file: str | None, slug: str, **options: Any) -> int:
    return run(partial(_wait, select_agent(agents, token_file), slug, **options))


async def _wait(
    agent: Settings,
    slug: str,
    *,
    states: Sequence[str],
    ready: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Wait until a process is in one of these states, or ready, and write which."""
    import trio

    from smartmob_agent.client.documents import STATES

    for state in states:
        if state not in STATES:
            hint = suggest_word(state, STATES) or f"there are {', '.join(STATES)}"
            raise CommandError(f"no state is called {state!r}", hint=hint, code=WRONG_USE)

    if ready and states:
        raise CommandError("expected --ready or --state, found both", code=WRONG_USE)
    states = states or ["running"]

    async def work(client: Client) -> int:
        state = "ready"
        try:
            with trio.fail_after(float("inf") if timeout is None else timeout):
                if ready:
                    await client.wait_ready(slug)
                else:
                    state = await client.wait_state(slug, *states)
        except trio.TooSlowError:
            wanted = "ready" if ready else " or ".join(states)
            raise CommandError(
                f"{slug}: not {wanted} within {timeout:g} s", code=TIMED_OUT
            ) from None
        if as_json:
            write_json({"slug": slug, "state": state}, indent=None)
        else:
            write_rows([[slug, state]])
        return 0

    return await with_client(agent, work, slug=slug)

"""Render a template of what agents run, for a proxy or for Prometheus.

TEMPLATE is one of Jinja, with `agents`, `processes` and `apps`.  OUT is replaced as a whole,
and only if it changes.  --agent may be given more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from smartmob_agent.client_cli.options import agent_options
from smartmob_agent.client_cli.runner import detachable, run, select_agents

__all__ = ["command"]


@click.command(help=__doc__)
@click.argument("template", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--then", default="", metavar="CMD", help="Run it after a change, for /bin/sh.")
@click.option("--follow", is_flag=True, help="Go on with each change, until CTRL-C.")
@agent_options
def command(
    agents: Sequence[str],
    token_file: str | None,
    as_json: bool,  # noqa: ARG001 -- there is nothing to write
    template: Path,
    out: Path,
    then: str,
    follow: bool,
) -> int:
    from smartmob_agent.client_cli.rendering import Render, render_follow, render_once

    chosen = select_agents(agents, token_file)
    render = Render(template=template, out=out, then=then)
    if not follow:
        return run(partial(render_once, chosen, render))

    async def go_on() -> int:
        with detachable():
            return await render_follow(chosen, render)

    return run(go_on)

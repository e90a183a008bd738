"""Deploy a release of an app.

The app is made if there is none.  The rollout is followed: its steps on stderr, the output of new
processes on stdout.  Ends with 0 when the release serves; else with 1, and stderr says which step
failed, why, and with which last lines.  CTRL-C leaves it going on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from smartmob_agent.client_cli.completion import complete_app
from smartmob_agent.client_cli.failure import WRONG_USE, CommandError
from smartmob_agent.client_cli.options import Duration, agent_options, wait_option
from smartmob_agent.client_cli.runner import detachable, run, select_agent, with_client
from smartmob_agent.client_cli.variables import read_variables

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command", "read_counts"]


def read_counts(text: str) -> dict[str, int]:
    """Read `web=2,worker=1`; raises `click.BadParameter`."""
    counts = {}
    for part in text.split(","):
        kind, equals, number = part.partition("=")
        if not kind or not equals or not number.isdecimal():
            raise click.BadParameter(f"expected TYPE=N,TYPE=N, such as web=2, found {text!r}")
        counts[kind] = int(number)
    return counts


@click.command(help=__doc__)
@click.argument("source", type=click.Path(), metavar="DIR|ARCHIVE|URL")
@click.option("--app", metavar="NAME", shell_complete=complete_app, help="Default: as of `run`.")
@click.option("--scale", type=read_counts, metavar="TYPE=N,…", help="How many of each type.")
@click.option("--root", metavar="DIR", help="Of the archive, with the Procfile.")
@click.option("-e", "--env", "given", multiple=True, metavar="K=V", help="Variable; K: as here.")
@click.option(
    "--env-file",
    "files",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="File of variables, an .env.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="PATTERN",
    help="Pack these files though .gitignore names them.",
)
@click.option("--sha256", metavar="DIGEST", help="What the archive must have.")
@click.option("--on-failure", type=click.Choice(["rollback", "halt"]), help="At first: rollback.")
@click.option("--parallel", type=click.IntRange(1), metavar="N", help="Slots of a type at once.")
@click.option("--watch", type=Duration(0), metavar="SECONDS", help="That a slot must run on.")
@click.option("--drain", type=Duration(0), metavar="SECONDS", help="That the old child goes on.")
@wait_option
@agent_options
def command(
    agents: Sequence[str],
    token_file: str | None,
    given: Sequence[str],
    files: Sequence[str],
    **options: Any,
) -> int:
    agent = select_agent(agents, token_file)
    env = read_variables(given, files, os.environ) if given or files else None
    return run(partial(_deploy, agent, env=env, **options))


async def _deploy(
    agent: Settings,
    source: str,
    *,
    app: str | None,
    scale: Mapping[str, int] | None,
    root: str | None,
    env: Mapping[str, str] | None,
    include: Sequence[str],
    sha256: str | None,
    on_failure: str | None,
    parallel: int | None,
    watch: float | None,
    drain: float | None,
    wait: bool,
    as_json: bool,
) -> int:
    """Pack, upload and deploy, and follow it.

    env: all variables; None for those that there are.
    scale: process type → how many; None for as many as there are.
    """
    from smartmob_agent.client_cli.naming import app_name
    from smartmob_agent.client_cli.rollouts import change_app
    from smartmob_agent.client_cli.source import source_url

    name = app or app_name(source)
    wishes: dict[str, object] = {
        "source_sha256": sha256,
        "root": root,
        "env": env,
        "processes": scale and {kind: {"count": count} for kind, count in scale.items()},
        "on_failure": on_failure,
        "parallel": parallel,
        "watch": watch,
        "drain": drain,
    }

    async def work(client: Client) -> int:
        from smartmob_agent.client import ConflictError, NoSuchProcessError

        body = {"source_url": await source_url(client, source, include=include)}
        asked = {key: value for key, value in wishes.items() if value is not None}
        change = partial(client.apps.put, name, {**body, **asked})
        try:
            return await change_app(client, name, change, wait=wait, as_json=as_json)
        except NoSuchProcessError as exc:
            raise CommandError(exc.detail, code=WRONG_USE) from exc
        except ConflictError as exc:
            raise CommandError(f"{exc}", hint="--app names another app") from exc

    with detachable():
        return await with_client(agent, work)

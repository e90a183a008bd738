"""Run an app.

A directory is packed, without what .gitignore names, which is reported, and uploaded.  The slug is
written.  Ends with 0 when the app has run for a second; else with 1, and stderr says why and shows
its last lines.  With --once it runs to its end: its output is written, and its exit
code handed on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from smartmob_agent.client_cli.commands.logs import show_logs
from smartmob_agent.client_cli.failure import WRONG_USE, CommandError
from smartmob_agent.client_cli.options import agent_options
from smartmob_agent.client_cli.output import write_json, write_rows
from smartmob_agent.client_cli.runner import detachable, run, select_agent, with_client
from smartmob_agent.client_cli.variables import read_variables

if TYPE_CHECKING:
    from smartmob_agent.client import Client, Process
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command", "follow_from_first_line"]

_TYPE = re.compile(r"[A-Za-z0-9._-]+")
_LAST_PORT = 65535


def _read_port(text: str) -> str | int:
    if text in ("auto", "none"):
        return text
    if text.isdecimal() and 1 <= int(text) <= _LAST_PORT:
        return int(text)
    raise click.BadParameter(f"expected auto, none or 1 to {_LAST_PORT}, found {text!r}")


@click.command(help=__doc__)
@click.argument("source", type=click.Path(), metavar="DIR|ARCHIVE|URL")
@click.option("--type", "process_type", metavar="TYPE", help="In Procfile.  [default: web]")
@click.option("--command", "line", metavar="CMD", help="For /bin/sh, in place of a type.")
@click.option(
    "--once", is_flag=True, help="Run to its end, with its exit code; CTRL-C ends and deletes it."
)
@click.option(
    "--restart",
    type=click.Choice(["always", "on-failure", "never"]),
    help="After which ends it is started again.",
)
@click.option("--port", type=_read_port, metavar="PORT", help="auto, none or a number.")
@click.option("--root", metavar="DIR", help="Of the archive, with the Procfile.")
@click.option("--no-build", is_flag=True, help="Install nothing that the app needs.")
@click.option("--app", metavar="NAME", help="Default: from the name of what is run.")
@click.option("--node", metavar="NAME", help="Default: TYPE.0; the slug is APP.NODE.")
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
@click.option("--attach", is_flag=True, help="Go on with its output; CTRL-C leaves it running.")
@agent_options
def command(
    agents: Sequence[str],
    token_file: str | None,
    given: Sequence[str],
    files: Sequence[str],
    **options: Any,
) -> int:
    agent, env = select_agent(agents, token_file), read_variables(given, files, os.environ)
    return run(partial(_run_app, agent, env=env, **options))


async def _run_app(
    agent: Settings,
    source: str,
    *,
    process_type: str | None,
    line: str | None,
    once: bool,
    restart: str | None,
    port: str | int | None,
    root: str | None,
    no_build: bool,
    app: str | None,
    node: str | None,
    sha256: str | None,
    env: Mapping[str, str],
    include: Sequence[str],
    attach: bool,
    as_json: bool,
) -> int:
    """Create a process, write its slug, and wait until it has run for a second.

    line: a command in place of a process type.
    once: instead, run it to its end and return its exit code.
    restart, port, root: as in the create request.
    sha256: the required digest of the archive.
    include: patterns of files to pack though git ignores them.
    attach: go on with the output, from the first line.
    """
    if process_type is not None and line is not None:
        raise CommandError("expected --type or --command, found both", code=WRONG_USE)
    if once and (attach or as_json or restart):
        raise CommandError("expected --once without --attach, --json and --restart", code=WRONG_USE)
    process_type = process_type or (None if line else "web")
    if process_type is not None and not _TYPE.fullmatch(process_type):
        raise CommandError(
            f"expected a type of a Procfile, of A-Z a-z 0-9 . _ and -, found {process_type!r}",
            code=WRONG_USE,
        )
    source_of = partial(_prepare, source=source, app=app, include=include)
    wishes: dict[str, object] = {
        "process_type": process_type,
        "command": line,
        "restart": "never" if once else restart,
        "port": port,
        "root": root,
        "build": "never" if no_build else None,
        "source_sha256": sha256,
        "env": env,
    }
    if once:
        return await with_client(agent, partial(_run_once, source_of, wishes, node))
    node = node or f"{process_type or 'run'}.0"
    slug = ""

    async def begin(client: Client) -> int:
        from smartmob_agent.client import ConflictError

        nonlocal slug
        create = await source_of(client)
        try:
            process = await create(client, node, **wishes)
        except ConflictError as exc:
            hint = "--node names another one; smartmob rm SLUG deletes"
            raise CommandError(f"{exc}", hint=hint) from exc
        slug = process.slug
        if as_json:
            write_json(process.document, indent=None if attach else 2)
        else:
            write_rows([[slug]])
        return 0

    await with_client(agent, begin)

    async def check(client: Client) -> int:
        from smartmob_agent.client_cli.startup import check_start

        return await check_start(client, slug, show=not attach)

    wait = partial(with_client, agent, check, slug=slug)
    if not attach:
        return await wait()
    with detachable():
        return await follow_from_first_line(agent, slug, wait, as_json=as_json)


async def follow_from_first_line(
    agent: Settings, slug: str, check: Callable[[], Awaitable[int]], *, as_json: bool
) -> int:
    """Write the output until its end, or until the process has failed.

    check: returns the exit code that the start of the process deserves, after its output has
        ended at the latest; raises if the process has failed for good.
    """
    import trio

    codes: list[int] = []

    async def watch() -> None:
        codes.append(await check())

    async with trio.open_nursery() as nursery:
        # A process that fails before it runs has no output that would ever end.
        nursery.start_soon(watch)
        codes.append(
            await show_logs([agent], [slug], follow=True, tail=None, as_json=as_json, after=0)
        )
    return max(codes)


async def _prepare(
    client: Client, *, source: str, app: str | None, include: Sequence[str]
) -> Callable[..., Awaitable[Process]]:
    """Pack and upload what has to be; return what creates a process of it, on a node."""
    from smartmob_agent.client_cli.naming import app_name
    from smartmob_agent.client_cli.source import source_url

    name = app or app_name(source)
    url = await source_url(client, source, include=include)

    async def create(client: Client, node: str, **wishes: Any) -> Process:
        return await client.create(app=name, node=node, source_url=url, **wishes)

    return create


async def _run_once(
    source_of: Callable[[Client], Awaitable[Callable[..., Awaitable[Process]]]],
    wishes: Mapping[str, object],
    node: str | None,
    client: Client,
) -> int:
    from smartmob_agent.client_cli.once import run_once

    # Before there is a process: CTRL-C during an import would leave it behind.
    import_module("smartmob_agent.client.websockets")
    create = await source_of(client)
    return await run_once(client, partial(create, **wishes), node)

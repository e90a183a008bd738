"""A process from what is on this machine: `run`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import trio

from smartmob_agent.client import Client, ConflictError, Process
from smartmob_agent.client_cli.commands.logs import show_logs
from smartmob_agent.client_cli.failure import WRONG_USE, CommandError
from smartmob_agent.client_cli.output import note, write_json, write_rows
from smartmob_agent.client_cli.runner import endless, with_client
from smartmob_agent.client_cli.settings import Settings
from smartmob_agent.client_cli.source import app_name, source_url

__all__ = ["follow_from_first_line", "launch"]

_TYPE = re.compile(r"[A-Za-z0-9._-]+")


async def launch(
    agent: Settings,
    source: str,
    *,
    process_type: str,
    app: str | None,
    node: str | None,
    sha256: str | None,
    env: Mapping[str, str],
    attach: bool,
    as_json: bool,
) -> int:
    """Create a process, write its slug, and wait until it runs.

    sha256: the digest that the archive must have.
    attach: go on with its output, from the first line.
    """
    if not _TYPE.fullmatch(process_type):
        raise CommandError(
            f"expected a type of a Procfile, of A-Z a-z 0-9 . _ and -, found {process_type!r}",
            code=WRONG_USE,
        )
    create = partial(
        _create,
        source=source,
        process_type=process_type,
        app=app,
        node=node or f"{process_type}.0",
        sha256=sha256,
        env=env,
    )
    slug = ""

    async def begin(client: Client) -> int:
        nonlocal slug
        process = await create(client)
        slug = process.slug
        if as_json:
            write_json(process.document, indent=None if attach else 2)
        else:
            write_rows([[slug]])
        return 0

    await with_client(agent, begin)
    watch = partial(with_client, agent, partial(_watch, slug=slug), slug=slug)
    if not attach:
        return await watch()
    with endless():
        return await follow_from_first_line(agent, slug, watch, as_json=as_json)


async def follow_from_first_line(
    agent: Settings, slug: str, watch: Callable[[], Awaitable[int]], *, as_json: bool
) -> int:
    """Write the output until its end, or until the process has failed.

    watch: raises when it has.
    """
    async with trio.open_nursery() as nursery:
        # A process that fails before it runs has no output that would ever end.
        nursery.start_soon(watch)
        code = await show_logs([agent], [slug], follow=True, tail=None, as_json=as_json, after=0)
        nursery.cancel_scope.cancel(reason="its output has ended")
    return code


async def _create(
    client: Client,
    *,
    source: str,
    process_type: str,
    app: str | None,
    node: str,
    sha256: str | None,
    env: Mapping[str, str],
) -> Process:
    name = app or app_name(source)
    url = await source_url(client, source)
    try:
        return await client.create(
            app=name,
            node=node,
            process_type=process_type,
            source_url=url,
            source_sha256=sha256,
            env=env,
        )
    except ConflictError as exc:
        hint = "--node names another one; smartmob rm SLUG deletes"
        raise CommandError(f"{exc}", hint=hint) from exc


async def _watch(client: Client, *, slug: str) -> int:
    """Wait until a process runs, or has been tried."""
    if await client.wait_state(slug, "running", "backoff") == "backoff":
        error = (await client.status(slug)).error or "it has ended"
        note(f"{slug}: {error}; it is tried again")
    return 0

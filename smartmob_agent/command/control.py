"""Processes over time: `restart`, `wait`, `events`."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from smartmob_agent.client import Change, Client, Gap, ProcessFailedError
from smartmob_agent.command.failure import TIMED_OUT, CommandError
from smartmob_agent.command.output import clean, is_terminal, note, write_json, write_rows
from smartmob_agent.command.runner import with_client
from smartmob_agent.command.settings import Settings

__all__ = ["restart", "show_events", "wait"]


async def restart(agent: Settings, slug: str, *, as_json: bool) -> int:
    """Start a process again; returns when it is known what has become of it."""

    async def work(client: Client) -> int:
        process = await client.restart(slug, wait=True)
        if as_json:
            write_json(process.document)
        else:
            write_rows([[process.slug, process.state]])
        if process.state != "running":
            raise ProcessFailedError(slug, process.state, process.error)
        return 0

    return await with_client(agent, work, slug=slug)


async def wait(
    agent: Settings, slug: str, *, states: Sequence[str], timeout: float | None, as_json: bool
) -> int:
    """Wait until a process is in one of some states, and write it."""

    async def work(client: Client) -> int:
        try:
            with trio.fail_after(float("inf") if timeout is None else timeout):
                state = await client.wait_state(slug, *states)
        except trio.TooSlowError:
            wanted = " or ".join(states)
            raise CommandError(
                f"{slug}: not {wanted} within {timeout:g} s", code=TIMED_OUT
            ) from None
        if as_json:
            write_json({"slug": slug, "state": state}, indent=None)
        else:
            write_rows([[slug, state]])
        return 0

    return await with_client(agent, work, slug=slug)


async def show_events(
    agent: Settings, slugs: Sequence[str], *, apps: Sequence[str], as_json: bool
) -> int:
    """Write what happens, from now on, until the agent stops."""

    async def work(client: Client) -> int:
        async with client.events(slugs=slugs, apps=apps) as events:
            async for event in events:
                if isinstance(event, Gap):
                    note(f"{event.missed or 'some'} events are lost")
                elif isinstance(event, Change):
                    _write(event, as_json=as_json)
        return 0

    return await with_client(agent, work)


def _write(change: Change, *, as_json: bool) -> None:
    if as_json:
        write_json(change.document, indent=None)
    elif is_terminal():
        from smartmob_agent.command.terminal import show_step

        why = change.error or (f"pid {change.pid}" if change.pid else " ")
        show_step(change.time, change.slug, change.state, of=change.previous or "", why=clean(why))
    else:
        time = change.document["time"]
        write_rows([[time, change.slug, change.state, change.pid, change.exit, change.error]])

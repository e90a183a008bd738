"""Processes over time: `restart`, `wait`, `events`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import trio

from smartmob_agent.client import Change, Client, Gap, Process, ProcessFailedError, Snapshot
from smartmob_agent.client.documents import STATES
from smartmob_agent.command.failure import TIMED_OUT, WRONG_USE, CommandError, like
from smartmob_agent.command.output import clean, is_terminal, note, write_json, write_rows
from smartmob_agent.command.runner import endless, with_client
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
    for state in states:
        if state not in STATES:
            hint = like(state, STATES) or f"there are {', '.join(STATES)}"
            raise CommandError(f"no state is called {state!r}", hint=hint, code=WRONG_USE)

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
                elif as_json or not is_terminal():
                    _write(event, as_json=as_json)
                else:
                    _show(event)
        return 0

    with endless():
        return await with_client(agent, work)


def _write(event: Change | Snapshot, *, as_json: bool) -> None:
    """Write a change; what is now, is for `ps` to say."""
    if isinstance(event, Snapshot):
        return
    if as_json:
        write_json(event.document, indent=None)
    else:
        time = event.document["time"]
        write_rows([[time, event.slug, event.state, event.pid, event.exit, event.error]])


def _show(event: Change | Snapshot) -> None:
    """Show a change, or what is now: a human sees then that something will come."""
    from smartmob_agent.command.terminal import show_step

    def show(time: datetime, of: str, it: Change | Process) -> None:
        why = it.error or (f"pid {it.pid}" if it.pid else " ")
        show_step(time, it.slug, it.state, of=of, why=clean(why))

    if isinstance(event, Change):
        show(event.time, event.previous or "", event)
        return
    for process in event.processes:
        show(process.started_at or process.created_at, "", process)

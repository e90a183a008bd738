"""Processes over time: `restart`, `wait`, `events`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import trio

from smartmob_agent.client import (
    Change,
    Client,
    Gap,
    Happening,
    Process,
    ProcessFailedError,
    Snapshot,
)
from smartmob_agent.client.documents import STATES
from smartmob_agent.client_cli.failure import TIMED_OUT, WRONG_USE, CommandError, like
from smartmob_agent.client_cli.output import clean, is_terminal, note, write_json, write_rows
from smartmob_agent.client_cli.runner import endless, with_client
from smartmob_agent.client_cli.settings import Settings

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
    """Write what happens, from now on, until the agent stops.

    What is lost is told, and then what is now is written.
    """
    write = _write_json if as_json else _show if is_terminal() else _write_row

    async def work(client: Client) -> int:
        first = True
        async with client.events(slugs=slugs, apps=apps) as events:
            async for event in events:
                if isinstance(event, Gap):
                    note(f"{event.missed or 'some'} events are lost")
                if isinstance(event, Snapshot) and first:
                    _note_missing(slugs, event)
                write(event, first=first)
                first = False
        return 0

    with endless():
        return await with_client(agent, work)


def _note_missing(slugs: Sequence[str], now: Snapshot) -> None:
    """Say which processes are not there: they may be to come, or were never meant."""
    there = {process.slug for process in now.processes}
    for slug in dict.fromkeys(slugs):
        if slug not in there:
            note(f"no process {slug!r} is there now; it is waited for")


def _write_json(event: Happening, *, first: bool) -> None:
    """Write a change as it came, a gap, and what is now behind one; at first `ps` says that."""
    if isinstance(event, Change):
        write_json(event.document, indent=None)
    elif isinstance(event, Gap):
        write_json({"event": "gap", "missed": event.missed}, indent=None)
    elif not first:
        processes = [process.document for process in event.processes]
        write_json({"event": "snapshot", "processes": processes}, indent=None)


def _write_row(event: Happening, *, first: bool) -> None:
    """Write a change, and what is now behind a gap, without a time: nobody knows since when."""
    if isinstance(event, Change):
        found: Sequence[tuple[object, Change | Process]] = [(event.document["time"], event)]
    elif isinstance(event, Snapshot) and not first:
        found = [(None, process) for process in event.processes]
    else:
        return
    write_rows([[time, it.slug, it.state, it.pid, it.exit, it.error] for time, it in found])


def _show(event: Happening, *, first: bool) -> None:  # noqa: ARG001 -- as the others
    """Show a change, or what is now: a human sees then that something will come."""
    from smartmob_agent.client_cli.terminal import show_step

    def show(time: datetime, of: str, it: Change | Process) -> None:
        why = it.error or (f"pid {it.pid}" if it.pid else " ")
        show_step(time, it.slug, it.state, of=of, why=clean(why))

    if isinstance(event, Change):
        show(event.time, event.previous or "", event)
        return
    for process in event.processes if isinstance(event, Snapshot) else ():
        show(process.started_at or process.created_at, "", process)

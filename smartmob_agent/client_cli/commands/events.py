"""Show what happens to processes.

From now on, until CTRL-C; to all processes, or to those that are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from smartmob_agent.client_cli.options import agent_options, slugs_argument
from smartmob_agent.client_cli.output import (
    format_cell,
    is_terminal,
    report,
    write_json,
    write_rows,
)
from smartmob_agent.client_cli.runner import detachable, run, select_agent, with_client

if TYPE_CHECKING:
    from datetime import datetime

    from smartmob_agent.client import AppNews, Change, Client, Happening, Process, Snapshot
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command"]


@click.command(help=__doc__)
@slugs_argument(metavar="[SLUG...]")
@click.option("--app", "apps", multiple=True, metavar="APP", help="Processes of this app.")
@agent_options
def command(agents: Sequence[str], token_file: str | None, **options: Any) -> int:
    return run(partial(_show_events, select_agent(agents, token_file), **options))


async def _show_events(
    agent: Settings, slugs: Sequence[str], *, apps: Sequence[str], as_json: bool
) -> int:
    """Write events from now on, until the agent stops.

    A gap is reported, and followed by the present states.
    """
    from smartmob_agent.client import Gap, Snapshot

    write = _write_json if as_json else _show if is_terminal() else _write_row

    async def work(client: Client) -> int:
        first = True
        async with client.events(slugs=slugs, apps=apps) as events:
            async for event in events:
                if isinstance(event, Gap):
                    report(f"{event.missed or 'some'} events are lost")
                if isinstance(event, Snapshot) and first:
                    _report_missing(slugs, event)
                write(event, first=first)
                first = False
        return 0

    with detachable():
        return await with_client(agent, work)


def _report_missing(slugs: Sequence[str], now: Snapshot) -> None:
    """Report slugs that no process has: it may come, or the slug may be mistyped."""
    there = {process.slug for process in now.processes}
    for slug in dict.fromkeys(slugs):
        if slug not in there:
            report(f"no process {slug!r} is there now; it is waited for")


def _write_json(event: Happening, *, first: bool) -> None:
    """Write a change as received, a gap, and the snapshot after it; the first is that of `ps`."""
    from smartmob_agent.client import AppNews, Change, Gap

    if isinstance(event, Change):
        write_json(event.document, indent=None)
    elif isinstance(event, Gap):
        write_json({"event": "gap", "missed": event.missed}, indent=None)
    elif isinstance(event, AppNews):
        write_json({"event": event.kind, **event.document}, indent=None)
    elif not first:
        processes = [process.document for process in event.processes]
        write_json({"event": "snapshot", "processes": processes}, indent=None)


def _write_row(event: Happening, *, first: bool) -> None:
    """Write a change, and the states after a gap, without a time, as that is not known."""
    from smartmob_agent.client import AppNews, Change, Snapshot

    if isinstance(event, Change):
        found: Sequence[tuple[object, Change | Process]] = [(event.document["time"], event)]
    elif isinstance(event, Snapshot) and not first:
        found = [(None, process) for process in event.processes]
    elif isinstance(event, AppNews):
        write_rows([[event.document.get("time"), event.app, *_told(event)]])
        return
    else:
        return
    write_rows([[time, it.slug, it.state, it.pid, it.exit, it.error] for time, it in found])


def _told(news: AppNews) -> tuple[str, str]:
    """Return what has happened to an app, in short, and more of it."""
    told = news.document
    if news.kind == "app":
        return str(told.get("change")), ""
    release = f"release {told.get('release')}"
    if news.kind == "release":
        return str(told.get("outcome")), release
    done = f"{told.get('done')}/{told.get('total')}"
    return str(told.get("state")), " ".join(filter(None, (release, done, str(told.get("step")))))


def _show(event: Happening, *, first: bool) -> None:  # noqa: ARG001 -- as the others
    """Show a change or a snapshot; the first one tells the user that more is to come."""
    from datetime import datetime

    from smartmob_agent.client import AppNews, Change, Snapshot
    from smartmob_agent.client_cli.terminal import show_step

    def show(time: datetime, previous: str, it: Change | Process) -> None:
        why = it.error or (f"pid {it.pid}" if it.pid else " ")
        show_step(time, it.slug, it.state, previous=previous, why=format_cell(why))

    if isinstance(event, Change):
        show(event.time, event.previous or "", event)
        return
    if isinstance(event, AppNews):
        state, why = _told(event)
        time = datetime.fromisoformat(event.document["time"])
        show_step(time, event.app, state, previous="", why=format_cell(why or " "))
        return
    for process in event.processes if isinstance(event, Snapshot) else ():
        show(process.started_at or process.created_at, "", process)

"""The output of processes: `logs`, and what `run --attach` goes on with."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext

import trio

from smartmob_agent.client import Client, Event, Feed, Line, LogPart, Record
from smartmob_agent.client_cli.failure import NO_PROCESS, CommandError
from smartmob_agent.client_cli.output import is_terminal, note, notes_are_of, write_bytes
from smartmob_agent.client_cli.runner import endless, with_client
from smartmob_agent.client_cli.settings import Settings

__all__ = ["copy_log", "show_logs", "show_records", "words"]

_DIM, _YELLOW, _RESET = "\x1b[2m", "\x1b[33m", "\x1b[0m"


async def show_logs(
    agents: Sequence[Settings],
    slugs: Sequence[str],
    *,
    follow: bool,
    tail: int | None,
    as_json: bool,
    after: int | None = None,
) -> int:
    """Write the logs of all processes of these names at all agents, as they come.

    Of several agents one need have it.

    tail, after: where to begin, as for `Client.log`; it is no loss what lies before the first
        line of a log that is taken as it is.
    """
    several = len(agents) > 1
    missing = Counter[str]()
    codes: list[int] = []

    async def show(agent: Settings, slug: str) -> None:
        notes_are_of(agent.name if several else "")
        names = ([agent.name] if several else []) + ([slug] if len(slugs) > 1 else [])

        async def work(client: Client) -> int:
            if follow and is_terminal() and not as_json:
                await show_records(client.records(slug, tail=tail, after=after), names)
            else:
                form = "ndjson" if as_json else "text"
                log = client.log(slug, form=form, follow=follow, tail=tail, after=after)
                await copy_log(log, slug, names, as_json=as_json)
            return 0

        try:
            await with_client(agent, work, slug=slug)
        except CommandError as error:
            missing[slug] += error.code == NO_PROCESS
            if error.code != NO_PROCESS:
                note(error.line)
                codes.append(error.code)
            elif missing[slug] == len(agents):
                notes_are_of("")  # It is what all of them say.
                note(f"{error}" if several else error.line)
                codes.append(error.code)

    with endless() if follow else nullcontext():
        async with trio.open_nursery() as nursery:
            for agent, slug in itertools.product(agents, slugs):
                nursery.start_soon(show, agent, slug)
    return max(codes, default=0)


async def copy_log(log: Feed[LogPart], slug: str, names: Sequence[str], *, as_json: bool) -> None:
    """Write a log as it comes, many lines at once: nothing looks at each."""
    async with log:
        async for part in log:
            if part.missed:
                note(f"{slug}: {part.missed} lines are lost: the agent has them no more")
            else:
                write_bytes(_marked(part.data, names, as_json=as_json))


def _marked(data: bytes, names: Sequence[str], *, as_json: bool) -> bytes:
    """Say in each line where it comes from, if there are several sources."""
    if not names:
        return data
    if as_json:
        fields = json.dumps({"source": " ".join(names)})[1:-1]
        mark = b"{" + fields.encode() + b", "
        return mark + data[1:-1].replace(b"\n{", b"\n" + mark) + b"\n"
    mark = f"{' '.join(names)} | ".encode()
    return mark + data[:-1].replace(b"\n", b"\n" + mark) + b"\n"


async def show_records(records: Feed[Record], names: Sequence[str]) -> None:
    """Show lines, those of stderr in another colour, and what happens in between."""
    from smartmob_agent.client_cli.terminal import colours

    mark = f"{' '.join(names)} | " if names else ""
    yellow, dim, reset = (_YELLOW, _DIM, _RESET) if colours() else ("", "", "")
    async with records:
        async for record in records:
            if isinstance(record, Line):
                style = yellow if record.stream == "stderr" else ""
                text = f"{mark}{style}{record.text}{reset if style else ''}"
            else:
                text = f"{mark}{dim}-- {words(record)} --{reset}"
            write_bytes(text.encode("utf-8", "replace") + b"\n")


def words(event: Event) -> str:
    """Say what happened, for a human."""
    fields = event.fields
    if event.name == "started":
        return f"started, pid {fields.get('pid')}"
    if event.name == "exited":
        how = fields.get("signal") or f"exit code {fields.get('code')}"
        return f"ended: {how}"
    if event.name == "dropped":
        return f"{fields.get('lines')} lines are lost: the agent has them no more"
    if event.name == "end":
        return "the agent stops" if fields.get("reason") == "agent" else "the process was deleted"
    return str(event)

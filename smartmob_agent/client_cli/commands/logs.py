"""Show the output of processes.

As far as the agent still has it; --agent may be given more than once.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from smartmob_agent.client_cli.failure import NO_PROCESS, CommandError
from smartmob_agent.client_cli.options import MAX_LINES, agent_options, slugs_argument
from smartmob_agent.client_cli.output import is_terminal, report, report_as, write_bytes
from smartmob_agent.client_cli.runner import detachable, run, select_agents, with_client

if TYPE_CHECKING:
    from datetime import datetime

    from smartmob_agent.client import Client, Event, Feed, LogPart, Record
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["command", "copy_log", "describe_event", "show_logs", "show_records"]

_DIM, _YELLOW, _RESET = "\x1b[2m", "\x1b[33m", "\x1b[0m"


@click.command(help=__doc__)
@slugs_argument(required=True)
@click.option("-f", "--follow", is_flag=True, help="Go on; CTRL-C leaves, and stops nothing.")
@click.option(
    "--tail", type=click.IntRange(0, MAX_LINES), metavar="N", help="Only the last N lines."
)
@click.option("-t", "--times", is_flag=True, help="Show the time of each line.")
@click.option(
    "--raw", is_flag=True, help="Let all control sequences reach a terminal, not only colours."
)
@agent_options
def command(agents: Sequence[str], token_file: str | None, **options: Any) -> int:
    return run(partial(show_logs, select_agents(agents, token_file), **options))


async def show_logs(
    agents: Sequence[Settings],
    slugs: Sequence[str],
    *,
    follow: bool,
    tail: int | None,
    as_json: bool,
    after: int | None = None,
    times: bool = False,
    raw: bool = False,
) -> int:
    """Write the logs of all processes with these slugs on all agents, as they come.

    Each slug must exist on one of the agents.

    tail, after: where to start, as for `Client.log`; without both, lines that were dropped before
        the first one are not reported.
    times: whether to write the time of each line, which JSON has anyway.
    raw: whether a terminal gets control sequences other than colours.
    """
    import trio

    several = len(agents) > 1
    clean = _cleaner(raw=raw)
    missing = Counter[str]()
    codes: list[int] = []

    async def show(agent: Settings, slug: str) -> None:
        report_as(agent.name if several else "")
        names = ([agent.name] if several else []) + ([slug] if len(slugs) > 1 else [])

        async def work(client: Client) -> int:
            if follow and is_terminal() and not as_json:
                records = client.records(slug, tail=tail, after=after)
                await show_records(records, names, times=times, clean=clean)
                return 0
            form = "ndjson" if as_json or times else "text"
            log = client.log(slug, form=form, follow=follow, tail=tail, after=after)
            if as_json:
                await copy_log(log, slug, names, as_json=True)
            elif times:
                await copy_log(log, slug, names, convert=partial(_timed, slug=slug, clean=clean))
            else:
                convert = None if clean is str else partial(_cleaned, clean=clean)
                await copy_log(log, slug, names, convert=convert)
            return 0

        try:
            await with_client(agent, work, slug=slug)
        except CommandError as error:
            missing[slug] += error.code == NO_PROCESS
            if error.code != NO_PROCESS:
                report(error.line)
                codes.append(error.code)
            elif missing[slug] == len(agents):
                report_as("")  # All agents say so.
                report(f"{error}" if several else error.line)
                codes.append(error.code)

    with detachable() if follow else nullcontext():
        async with trio.open_nursery() as nursery:
            for agent, slug in itertools.product(agents, slugs):
                nursery.start_soon(show, agent, slug)
    return max(codes, default=0)


async def copy_log(
    log: Feed[LogPart],
    slug: str,
    names: Sequence[str],
    *,
    as_json: bool = False,
    convert: Callable[[bytes], bytes] | None = None,
) -> None:
    """Write a log as it comes, many lines at once, none of which is parsed without `convert`.

    convert: takes whole lines, and returns those to write.
    """
    async with log:
        async for part in log:
            if part.missed:
                _report_lost(slug, part.missed)
                continue
            data = part.data if convert is None else convert(part.data)
            if data:
                write_bytes(_with_source(data, names, as_json=as_json))


def _report_lost(slug: str, lines: object) -> None:
    report(f"{slug}: {lines} lines are lost: the agent has them no more")


def _cleaner(*, raw: bool) -> Callable[[str], str]:
    """Return what makes a line fit for stdout; `str` where each line is."""
    if raw or not sys.stdout.isatty():
        return str
    from smartmob_agent.client_cli.control_sequences import only_colours, without_controls
    from smartmob_agent.client_cli.terminal import colours

    return only_colours if colours() else without_controls


def _cleaned(data: bytes, *, clean: Callable[[str], str]) -> bytes:
    """Convert lines of text."""
    lines = data[:-1].decode("utf-8", "replace").split("\n")
    return "".join(f"{clean(line)}\n" for line in lines).encode()


def _timed(data: bytes, *, slug: str, clean: Callable[[str], str]) -> bytes:
    """Convert records to lines that begin with their time."""
    from smartmob_agent.client import Line
    from smartmob_agent.client.records import parse_record

    lines = []
    for record in map(parse_record, data.splitlines()):
        if isinstance(record, Line):
            lines.append(f"{_rfc3339(record.time)} {clean(record.text)}\n")
        elif record.name == "dropped":
            _report_lost(slug, record.fields.get("lines"))
    return "".join(lines).encode("utf-8", "replace")


def _rfc3339(time: datetime) -> str:
    """Return a time of the agent, which is in UTC, as it came."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _with_source(data: bytes, names: Sequence[str], *, as_json: bool) -> bytes:
    """Name the source in each line, if there are several sources."""
    if not names:
        return data
    if as_json:
        import json

        fields = json.dumps({"source": " ".join(names)})[1:-1]
        mark = b"{" + fields.encode() + b", "
        return mark + data[1:-1].replace(b"\n{", b"\n" + mark) + b"\n"
    mark = f"{' '.join(names)} | ".encode()
    return mark + data[:-1].replace(b"\n", b"\n" + mark) + b"\n"


async def show_records(
    records: Feed[Record],
    names: Sequence[str],
    *,
    times: bool = False,
    clean: Callable[[str], str] = str,
) -> None:
    """Show lines, with stderr in another colour, and the events between them.

    clean: makes a line fit for the terminal.
    """
    from smartmob_agent.client import Line
    from smartmob_agent.client_cli.terminal import colours

    mark = f"{' '.join(names)} | " if names else ""
    yellow, dim, reset = (_YELLOW, _DIM, _RESET) if colours() else ("", "", "")
    async with records:
        async for record in records:
            begin = mark
            if times and record.time is not None:
                begin += f"{dim}{_rfc3339(record.time)}{reset} "
            if isinstance(record, Line):
                style = yellow if record.stream == "stderr" else ""
                text = f"{begin}{style}{clean(record.text)}{reset if style else ''}"
            else:
                text = f"{begin}{dim}-- {describe_event(record)} --{reset}"
            write_bytes(text.encode("utf-8", "replace") + b"\n")


def describe_event(event: Event) -> str:
    """Return an event in words."""
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

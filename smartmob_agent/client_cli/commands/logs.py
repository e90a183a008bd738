"""Show the output of processes.

As far as the agent still has it, also of processes that were deleted.  The lines of several
processes or agents (--agent may be given more than once) are in the order of their times, unless
they are followed.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import click

from smartmob_agent.client_cli.failure import NO_PROCESS, CommandError
from smartmob_agent.client_cli.options import MAX_LINES, agent_options, slugs_argument
from smartmob_agent.client_cli.output import is_terminal, report, report_as, write_bytes
from smartmob_agent.client_cli.runner import detachable, run, select_agents, with_client

if TYPE_CHECKING:
    from datetime import datetime

    import trio

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
@click.option("--since", metavar="TIME", help="Begin there: 2026-01-31T12:00:00Z, or 3h ago.")
@click.option("--until", metavar="TIME", help="End there; not together with --follow.")
@click.option("--grep", metavar="PATTERN", help="Only lines with a match, as re of Python has it.")
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
    since: str | None = None,
    until: str | None = None,
    grep: str | None = None,
) -> int:
    """Write the logs of all processes with these slugs on all agents, as they come.

    Each slug must exist on one of the agents.  Several logs that are not followed are merged by
    time.

    tail, after: where to start, as for `Client.log`; without both, lines that were dropped before
        the first one are not reported.
    times: whether to write the time of each line, which JSON has anyway.
    raw: whether a terminal gets control sequences other than colours.
    since, until, grep: which lines, as for `Client.log`.
    """
    import trio

    query = {"tail": tail, "after": after, "since": since, "until": until, "grep": grep}
    wish = _Wish(query, follow=follow, as_json=as_json, times=times, clean=_cleaner(raw=raw))
    several = len(agents) > 1, len(slugs) > 1
    sources = [
        _Source(agent, slug, _names(agent, slug, several))
        for agent, slug in itertools.product(agents, slugs)
    ]
    shown = _Shown(wish, several_agents=several[0], agents=len(agents))
    with detachable() if follow else nullcontext():
        async with trio.open_nursery() as nursery:
            if follow or len(sources) == 1:
                for source in sources:
                    nursery.start_soon(shown.show, source)
            else:
                nursery.start_soon(shown.merge, sources)
    return max(shown.codes, default=0)


def _names(agent: Settings, slug: str, several: tuple[bool, bool]) -> Sequence[str]:
    """Return what tells a source from the others."""
    return [name for name, tells in zip((agent.name, slug), several, strict=True) if tells]


@attrs.frozen
class _Source:
    """A process of an agent.

    names: tell it from others; empty if there is no other.
    """

    agent: Settings
    slug: str
    names: Sequence[str]


@attrs.frozen
class _Wish:
    """What is to be shown, and how.

    clean: makes a line fit for stdout.
    """

    query: Mapping[str, Any]
    follow: bool = attrs.field(kw_only=True)
    as_json: bool = attrs.field(kw_only=True)
    times: bool = attrs.field(kw_only=True)
    clean: Callable[[str], str] = attrs.field(kw_only=True)

    @property
    def looks(self) -> bool:
        """Whether lines are looked for, which an attach socket cannot."""
        return any(self.query[name] is not None for name in ("since", "until", "grep"))


@attrs.define(eq=False)
class _Shown:
    """Shows logs, and knows what became of each.

    codes: of those that failed.
    """

    _wish: _Wish
    _several_agents: bool = attrs.field(kw_only=True)
    _agents: int = attrs.field(kw_only=True)
    _missing: Counter[str] = attrs.field(factory=Counter)
    codes: list[int] = attrs.field(factory=list)

    async def show(self, source: _Source) -> None:
        """Show one log, as it comes."""
        await self._with_client(source, partial(self._copy, source))

    async def _copy(self, source: _Source, client: Client) -> int:
        wish, slug, names = self._wish, source.slug, source.names
        clean = wish.clean
        if wish.follow and is_terminal() and not wish.as_json and not wish.looks:
            records = client.records(slug, tail=wish.query["tail"], after=wish.query["after"])
            await show_records(records, names, times=wish.times, clean=clean)
            return 0
        form = "ndjson" if wish.as_json or wish.times else "text"
        log = client.log(slug, form=form, follow=wish.follow, **wish.query)
        if wish.as_json:
            await copy_log(log, slug, names, as_json=True)
        elif wish.times:
            await copy_log(log, slug, names, convert=partial(_timed, slug=slug, clean=clean))
        else:
            convert = None if clean is str else partial(_cleaned, clean=clean)
            await copy_log(log, slug, names, convert=convert)
        return 0

    async def merge(self, sources: Sequence[_Source]) -> None:
        """Show several logs in the order of their times."""
        import trio

        from smartmob_agent.client.merge import merge_by_time

        channels = [trio.open_memory_channel[bytes](0) for _ in sources]
        async with trio.open_nursery() as nursery:
            for source, (send, _) in zip(sources, channels, strict=True):
                nursery.start_soon(self._feed, source, send)
            write = partial(self._write, sources)
            await merge_by_time([receive for _, receive in channels], write)

    async def _feed(self, source: _Source, send: trio.MemorySendChannel[bytes]) -> None:
        async def work(client: Client) -> int:
            async with client.log(source.slug, form="ndjson", **self._wish.query) as log:
                async for part in log:
                    await send.send(part.data)
            return 0

        async with send:
            await self._with_client(source, work)

    def _write(self, sources: Sequence[_Source], number: int, data: bytes) -> None:
        wish, source = self._wish, sources[number]
        if not wish.as_json:
            data = _timed(data, slug=source.slug, clean=wish.clean, times=wish.times)
        if data:  # pragma: no branch  -- by chance a part holds events alone
            write_bytes(_with_source(data, source.names, as_json=wish.as_json))

    async def _with_client(self, source: _Source, work: Callable[[Client], Awaitable[int]]) -> None:
        slug = source.slug
        report_as(source.agent.name if self._several_agents else "")
        try:
            await with_client(source.agent, work, slug=slug)
        except CommandError as error:
            self._missing[slug] += error.code == NO_PROCESS
            if error.code != NO_PROCESS:
                report(error.line)
                self.codes.append(error.code)
            elif self._missing[slug] == self._agents:
                report_as("")  # All agents say so.
                report(f"{error}" if self._several_agents else error.line)
                self.codes.append(error.code)


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


def _timed(data: bytes, *, slug: str, clean: Callable[[str], str], times: bool = True) -> bytes:
    """Convert records to lines, which begin with their time if that is wanted."""
    from smartmob_agent.client import Line
    from smartmob_agent.client.records import parse_record

    lines = []
    for record in map(parse_record, data.splitlines()):
        if isinstance(record, Line):
            begin = f"{_rfc3339(record.time)} " if times else ""
            lines.append(f"{begin}{clean(record.text)}\n")
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

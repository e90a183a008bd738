"""Tables and colours for a terminal.  Only this module knows rich; it is loaded for one alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

__all__ = ["ago", "colours", "open_bar", "show_pairs", "show_step", "show_table"]

_STYLES = {"running": "green", "backoff": "yellow", "stopping": "yellow", "pending": "cyan"}
_STEPS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Advance(Protocol):
    """Shows how far something is."""

    def __call__(self, done: int, size: int) -> None: ...


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show a table; the column STATE is coloured."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold", no_wrap=name in ("SLUG", "STATE", "PID"))
    for row in rows:
        table.add_row(*(_cell(name, text) for name, text in zip(header, row, strict=True)))
    Console().print(table)


def show_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Show names and values."""
    table = Table.grid(padding=(0, 2))
    for name, text in pairs:
        table.add_row(Text(name, style="bold"), _cell(name.upper(), text))
    Console().print(table)


def _cell(column: str, text: str) -> Text:
    if column == "STATE":
        return Text(text, style=_style_of(text))
    return Text(text, style="red" if column == "ERROR" and text != "-" else "")


def show_step(time: datetime, slug: str, state: str, *, of: str, why: str) -> None:
    """Show one step of a process on a line.

    of: the state before, empty for the first.
    why: what else there is to say.
    """
    parts = [
        (f"{time.astimezone():%H:%M:%S}  ", "dim"),
        (f"{slug}  ", "bold"),
        (f"{of} → " if of else "", ""),
        (state, _style_of(state)),
        (f"  {why}", "dim"),
    ]
    line = Text.assemble(*parts)
    Console().print(line, soft_wrap=True)


def _style_of(state: str) -> str:
    return _STYLES.get(state, "red" if " " in state else "cyan")


def ago(time: datetime | None) -> str:
    """Return how long ago a time was."""
    if time is None:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - time).total_seconds()))
    for size, unit in _STEPS:
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "now"


def colours() -> bool:
    """Whether stdout takes colours: https://no-color.org is heeded."""
    return Console().color_system is not None and not Console().no_color


@contextmanager
def open_bar(what: str) -> Iterator[Advance]:
    """Have a bar on stderr, if that is a terminal; it goes away at the end."""
    console = Console(file=sys.stderr)
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns,
        console=console,
        transient=True,
        auto_refresh=False,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=None)

        def advance(done: int, size: int) -> None:
            progress.update(task, completed=done, total=size, refresh=True)

        yield advance

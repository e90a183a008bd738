"""Tables and colours, by rich, which is loaded only for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from smartmob_agent.client_cli.output import write_text

__all__ = ["ago", "colours", "open_progress_bar", "show_pairs", "show_step", "show_table"]

_STYLES = {"running": "green", "backoff": "yellow", "stopping": "yellow", "pending": "cyan"}
_GAP = 2
"""Columns between two cells."""
_ERROR_WIDTH = 30
"""Columns below which an error is hard to read."""
_STEPS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Advance(Protocol):
    """Shows progress, in bytes."""

    def __call__(self, done: int, size: int) -> None: ...


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show a table; the column STATE is coloured, and only ERROR, the last one, is wrapped.

    On a terminal too narrow for errors, each error stands below its row.
    """
    columns = [*zip(header, *rows, strict=True)]
    widths = [max(map(cell_len, column)) for column in columns]
    room = Console().width - sum(width + _GAP for width in widths[:-1])
    if room >= min(widths[-1], _ERROR_WIDTH):
        _write(_table(header, rows))
        return
    short = _table(header[:-1], [row[:-1] for row in rows])
    # Wider than the terminal, if need be: that breaks lines, and nothing is cut off.
    lines = [
        line.rstrip()
        for line in _rendered(short, width=sum(width + _GAP for width in widths)).splitlines()
    ]
    below = ["", *(_below(row[-1]) for row in rows)]
    write_text("".join(f"{line}\n{error}" for line, error in zip(lines, below, strict=True)))


def _below(error: str) -> str:
    """Return the line below a row, nothing if there is no error."""
    text = Text("  ") + _cell("ERROR", error)
    return "" if error == "-" else _rendered(text, soft_wrap=True)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold", no_wrap=name != "ERROR")
    for row in rows:
        table.add_row(*(_cell(name, text) for name, text in zip(header, row, strict=True)))
    return table


def _write(content: RenderableType, *, soft_wrap: bool = False) -> None:
    write_text(_rendered(content, soft_wrap=soft_wrap))


def _rendered(content: RenderableType, *, width: int | None = None, soft_wrap: bool = False) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(content, soft_wrap=soft_wrap)
    return captured.get()


def show_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Show names and values."""
    table = Table.grid(padding=(0, 2))
    for name, text in pairs:
        table.add_row(Text(name, style="bold"), _cell(name.upper(), text))
    _write(table)


def _cell(column: str, text: str) -> Text:
    if column == "STATE":
        return Text(text, style=_style_of(text))
    return Text(text, style="red" if column == "ERROR" and text != "-" else "")


def show_step(time: datetime, slug: str, state: str, *, previous: str, why: str) -> None:
    """Show one step of a process on a line.

    previous: the state before, empty for the first.
    why: the error, or the pid.
    """
    parts = [
        (f"{time.astimezone():%H:%M:%S}  ", "dim"),
        (f"{slug}  ", "bold"),
        (f"{previous} {_arrow()} " if previous else "", ""),
        (state, _style_of(state)),
        (f"  {why}", "dim"),
    ]
    _write(Text.assemble(*parts), soft_wrap=True)


def _arrow() -> str:
    """Return an arrow that the encoding of the terminal has."""
    try:
        "→".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return "->"
    return "→"


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
    """Whether stdout takes colours; `NO_COLOR` disables them (https://no-color.org)."""
    return Console().color_system is not None and not Console().no_color


@contextmanager
def open_progress_bar(what: str) -> Iterator[Advance]:
    """Show a progress bar on stderr, if that is a terminal; it disappears at the end."""
    console = Console(file=sys.stderr)
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns,
        console=console,
        transient=True,
        auto_refresh=False,
        # A terminal that cannot erase would keep an empty line.
        disable=not console.is_terminal or console.is_dumb_terminal,
    ) as progress:
        task = progress.add_task(what, total=None)

        def advance(done: int, size: int) -> None:
            progress.update(task, completed=done, total=size, refresh=True)

        yield advance

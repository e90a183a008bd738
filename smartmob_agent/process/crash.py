"""What a child has said before it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice

from smartmob_agent.child.seam import Exit
from smartmob_agent.output.batch import Batch, rfc3339
from smartmob_agent.output.console import Console

__all__ = ["CRASH_LINES", "crash_record"]

CRASH_LINES = 20

_LINE_CHARS = 1000
"""Of each line: the log has all of it."""


def crash_record(console: Console, how: Exit, now: datetime) -> Mapping[str, object]:
    """Return how a child has ended, when, and its last lines, as JSON."""
    lines = [line.decode()[:_LINE_CHARS] for line in islice(_last_lines(console), CRASH_LINES)]
    return {"exit": how.record, "at": rfc3339(now), "lines": lines[::-1]}


def _last_lines(console: Console) -> Iterator[bytes]:
    """Go back through the lines of the last child, as far as the console has them."""
    for item in reversed(console.items):
        if isinstance(item, Batch):
            yield from reversed(item.lines)
        elif item.record["event"] == "started":
            return

"""Lines of an index."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from smartmob_agent.output.batch import NOBODY, Batch, Origin, Stream
from smartmob_agent.output.log.entry import entry_of, format_entry, parse_entry

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("origin", [NOBODY, Origin(pid=7), Origin(pid=7, release=3)])
def test_who_wrote_lines_is_kept(origin: Origin) -> None:
    batch = Batch(first=1, stream=Stream.STDOUT, time=NOON, text=b"a\nb\n", origin=origin)
    entry = entry_of(batch, 0, NOON)
    again = parse_entry(format_entry(entry).removesuffix(b"\n"))
    assert again == entry
    assert again.item(b"a\nb\n") == batch

"""The records of a console, typed: lines, and the events between them.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from smartmob_agent.client.documents import parse_json
from smartmob_agent.client.errors import BadAnswerError

__all__ = ["Event", "Line", "Record", "parse_record"]


@attrs.frozen(kw_only=True)
class Line:
    """A line of output.

    seq: its number; a process numbers its lines from 1, over all restarts.
    stream: `stdout` or `stderr`.
    text: without the line end.
    pid: of the child that wrote it; None for a build, and from older agents.
    release: of its app, if it is one of an app.
    """

    seq: int
    time: datetime
    stream: str
    text: str
    pid: int | None = None
    release: int | None = None

    def __str__(self) -> str:
        return self.text


@attrs.frozen(kw_only=True)
class Event:
    """An event of the process, or of this reader.

    name: `started`, `exited`, `dropped` (lines that came too fast for this reader) or `end`;
        newer agents may have more.
    fields: the other fields of the record: `pid`, `code`, `signal`, `lines`, `reason`.
    """

    name: str
    time: datetime | None
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.fields.items())])


Record = Line | Event


def parse_record(text: str | bytes) -> Record:
    """Read one record; raises `BadAnswerError`."""
    document = parse_json(text)
    try:
        if "seq" in document:
            return Line(
                seq=int(document["seq"]),
                time=datetime.fromisoformat(document["time"]),
                stream=str(document["stream"]),
                text=str(document["line"]),
                pid=document.get("pid"),
                release=document.get("release"),
            )
        name, time = str(document.pop("event")), document.pop("time", None)
        return Event(name=name, time=time and datetime.fromisoformat(time), fields=document)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise BadAnswerError(f"expected a record of a console: {exc!r}") from None

"""The log of a process as bytes: the fastest way to get much of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import trio

from smartmob_agent.client.errors import BadAnswerError, NoSuchProcessError
from smartmob_agent.client.identity import Identity, path_of, run_with_reconnects
from smartmob_agent.client.network import Requests, StreamedAnswer
from smartmob_agent.client.progress import Progress, RecordProgress, TextProgress
from smartmob_agent.client.reconnect import ReconnectBackoff
from smartmob_agent.client.records import Line, parse_record

__all__ = ["FORMATS", "LogPart", "LogReader", "first_line"]

FORMATS: Mapping[str, type[TextProgress | RecordProgress]] = {
    "text": TextProgress,
    "ndjson": RecordProgress,
}


@attrs.frozen(kw_only=True)
class LogPart:
    """Whole lines of a log, many of them at once.

    missed: how many lines before these were dropped by the agent; in `ndjson` a record says so.
    """

    data: bytes
    missed: int = 0


class LogReader:
    """Reads a log to its end, across lost connections.

    form: one of `FORMATS`.
    query: parameters of the request beside the format; with `follow` the log has no end.
    """

    def __init__(
        self,
        requests: Requests,
        slug: str,
        *,
        form: str,
        query: Mapping[str, object],
        backoff: ReconnectBackoff,
    ) -> None:
        self._requests = requests
        self._slug = slug
        self._identity = Identity(requests, slug)
        # Lines cannot be counted where some are left out: then records tell their numbers.
        wire = "ndjson" if query.get("grep") is not None else form
        self._query = {**query, "format": wire}
        self._progress: Progress = FORMATS[wire]()
        self._in_band, self._as_text = form != "text", form == "text"
        self._backoff = backoff

    async def run(self, send: trio.MemorySendChannel[LogPart]) -> None:
        """Send the whole log."""

        async def attempt() -> None:
            await self._read(send)

        try:
            await self._identity.learn()
        except NoSuchProcessError:  # It was deleted; its output may be there all the same.
            await attempt()
        else:
            await run_with_reconnects(attempt, self._identity.check, self._backoff)

    async def _read(self, send: trio.MemorySendChannel[LogPart]) -> None:
        """Read from one connection."""
        path = path_of("process-log", self._slug)
        async with self._requests.stream("GET", path, query=self._query) as answer:
            first, missed = first_line(answer.headers)
            has_gaps = answer.headers.get("Lines-Lost", "0") != "0"
            if self._query["format"] != "text" or not has_gaps:
                await self._read_parts(answer, first, missed, send)
                return
        self._query["format"] = "ndjson"
        self._progress = RecordProgress()
        await self._read(send)

    async def _read_parts(
        self,
        answer: StreamedAnswer,
        first: int,
        missed: int,
        send: trio.MemorySendChannel[LogPart],
    ) -> None:
        self._progress.begin(first, missed)
        self._backoff.connected()
        self._resume_after_last()
        if missed and not self._in_band and self._query["format"] == "text":
            await send.send(LogPart(data=b"", missed=missed))
        async for part in answer.parts:
            if whole := self._progress.feed(part):
                self._backoff.received()
                self._resume_after_last()
                for one in self._shown(whole):
                    await send.send(one)

    def _shown(self, data: bytes) -> Iterator[LogPart]:
        """Go through what came, as it was asked for."""
        if not self._as_text or self._query["format"] == "text":
            yield LogPart(data=data)
            return
        text = bytearray()
        for record in map(parse_record, data.splitlines()):
            if isinstance(record, Line):
                text += record.text.encode("utf-8", "replace") + b"\n"
            elif record.name == "dropped":
                if text:
                    yield LogPart(data=bytes(text))
                    text.clear()
                yield LogPart(data=b"", missed=int(record.fields["lines"]))
        if text:
            yield LogPart(data=bytes(text))

    def _resume_after_last(self) -> None:
        self._query |= {"tail": None, "since": None, "after": self._progress.last}


def first_line(headers: Mapping[str, str]) -> tuple[int, int]:
    """Return the number of the first line of a log, and how many lines before it were dropped."""
    try:
        return int(headers["First-Line"]), int(headers["Lines-Missed"])
    except (KeyError, ValueError):
        raise BadAnswerError(
            "expected a log that says where it begins: is the agent too old?"
        ) from None

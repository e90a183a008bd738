"""What can be asked of an agent, as typed calls."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import trio

from smartmob_agent.client.attachment import Attachment, AttachmentReader
from smartmob_agent.client.documents import (
    FAILURES,
    GONE,
    Process,
    Upload,
    parse_process,
    parse_processes,
    parse_upload,
)
from smartmob_agent.client.errors import ProcessFailedError
from smartmob_agent.client.events import EventsReader, Happening, state_in
from smartmob_agent.client.feed import Feed
from smartmob_agent.client.identity import path_of
from smartmob_agent.client.log import LogPart, LogReader
from smartmob_agent.client.network import Requests, Sockets
from smartmob_agent.client.reconnect import Patience
from smartmob_agent.client.records import Record
from smartmob_agent.client.upload import FileBody

__all__ = ["Client"]


class Client:
    """What can be asked of one agent.

    All calls raise `ClientError`: `NoConnectionError` when the agent does not answer,
    `RefusedError` when it says no.  Calls may be made at the same time by several tasks.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        requests: Requests,
        make_sockets: Callable[[], Sockets],
        *,
        patience: float,
    ) -> None:
        self._nursery = nursery
        self._requests = requests
        self._make_sockets = make_sockets
        self._patience = patience

    async def list_processes(self) -> list[Process]:
        """Return all processes, in the order of their creation."""
        answer = await self._requests.request("GET", "/list-processes")
        return parse_processes(answer.document())

    async def create(
        self,
        *,
        app: str,
        node: str,
        process_type: str,
        source_url: str,
        source_sha256: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Create a process; what follows is seen in its status.

        source_url: of the archive, or the one that `upload` returned.
        source_sha256: the digest that the archive must have, as 64 hexadecimal digits.
        """
        document = {
            "app": app,
            "node": node,
            "process_type": process_type,
            "source_url": source_url,
            "env": dict(env or {}),
            **({} if source_sha256 is None else {"source_sha256": source_sha256}),
        }
        body = json.dumps(document).encode()
        answer = await self._requests.request("POST", "/create-process", body=body)
        return parse_process(answer.document())

    async def status(self, slug: str) -> Process:
        """Return the status of a process."""
        answer = await self._requests.request("GET", path_of("process-status", slug))
        return parse_process(answer.document())

    async def delete(self, slug: str) -> None:
        """End a process; returns when nothing of it is left.

        If cancelled: the agent goes on all the same.
        """
        await self._requests.request("POST", path_of("delete-process", slug), patient=True)

    async def restart(self, slug: str, *, wait: bool = False) -> Process:
        """Start a process again, now; raises `ConflictError` when it cannot be.

        wait: return when it is known what has become of it.
        """
        path, query = path_of("restart-process", slug), {"wait": int(wait)}
        answer = await self._requests.request("POST", path, query=query, patient=True)
        return parse_process(answer.document())

    async def send_signal(self, slug: str, signal: str) -> None:
        """Send a signal, such as `HUP`; raises `ConflictError` when no child runs."""
        body = json.dumps({"signal": signal}).encode()
        await self._requests.request("POST", path_of("signal-process", slug), body=body)

    async def wait_state(self, slug: str, *states: str) -> str:
        """Wait until a process is in one of some states, and return it; `gone` is one too.

        Raises `NoSuchProcessError`, and `ProcessFailedError` when it is gone, or in a failure,
        and that was not waited for; behind a failure `stopping` and `gone` are to come.
        """
        if GONE not in states:
            await self.status(slug)
        # It leaves a failure when it is deleted, and only then.
        ends = {GONE} if {"stopping", GONE} & {*states} else {*FAILURES, GONE}
        async with self.events(slugs=[slug]) as events:
            async for happening in events:
                state, error = state_in(happening)
                if state in states:
                    return state
                if state in ends:
                    raise ProcessFailedError(slug, state, error)
        raise ProcessFailedError(slug, "the agent has stopped", None)

    def events(self, *, slugs: Sequence[str] = (), apps: Sequence[str] = ()) -> Feed[Happening]:
        """Return what happens to processes: a `Snapshot`, then each `Change`.

        slugs, apps: only these; all without either.

        A connection that is lost is made again; what that leaves out is told by a `Gap`.
        """
        reader = EventsReader(
            self._requests, slugs=slugs, apps=apps, patience=self._new_patience("events")
        )
        return Feed(self._nursery, reader.run)

    async def upload(
        self, archive: Path, *, progress: Callable[[int, int], object] = lambda _sent, _all: None
    ) -> Upload:
        """Send an archive to the agent, which keeps it; `source_url` is what `create` takes.

        progress: called with the bytes that were sent and those of the whole archive.

        Raises `OSError` when the archive cannot be read.
        """
        async with await trio.open_file(archive, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            answer = await self._requests.request(
                "PUT",
                "/upload-source",
                body=FileBody(file, size, progress),
                headers={"Content-Length": str(size)},
                patient=True,
            )
        return parse_upload(answer.document())

    def attach(
        self,
        slug: str,
        *,
        tail: int | None = 0,
        after: int | None = None,
        stream: str | None = None,
    ) -> Attachment:
        """Return the lines of a process as they come, beginning with the next one.

        tail: begin with so many of the last lines that the agent still has; None is all of them.
        after: begin with the line behind this number instead.
        stream: only lines of `stdout` or of `stderr`.

        A connection that is lost is made again: no line is missing then, none comes twice.
        """
        return Attachment(self._nursery, self._reader(slug, tail, after, stream))

    def records(
        self,
        slug: str,
        *,
        tail: int | None = 0,
        after: int | None = None,
        stream: str | None = None,
    ) -> Feed[Record]:
        """Return what `attach` does, and what happens to the process between its lines."""
        reader = self._reader(slug, tail, after, stream)

        async def produce(send: trio.MemorySendChannel[Record]) -> None:
            await reader.run(send.send)

        return Feed(self._nursery, produce)

    def log(
        self,
        slug: str,
        *,
        form: str = "text",
        tail: int | None = None,
        after: int | None = None,
        follow: bool = False,
    ) -> Feed[LogPart]:
        """Return the log of a process as bytes, many lines at once: the fast way.

        form: `text`, or `ndjson` for records.
        tail, after: as for `attach`; without both all that the agent has.
        follow: go on with what comes, over lost connections.
        """
        reader = LogReader(
            self._requests,
            slug,
            form=form,
            query={"tail": tail, "after": after, "follow": int(follow)},
            patience=self._new_patience(slug),
        )
        return Feed(self._nursery, reader.run)

    def _reader(
        self, slug: str, tail: int | None, after: int | None, stream: str | None
    ) -> AttachmentReader:
        return AttachmentReader(
            self._requests,
            self._make_sockets(),
            slug,
            tail=tail,
            after=after,
            stream=stream,
            patience=self._new_patience(slug),
        )

    def _new_patience(self, what: str) -> Patience:
        return Patience(self._patience, what)

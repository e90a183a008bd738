"""The client: typed calls to one agent, and how it is opened."""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from smartmob_agent.client.address import parse_address
from smartmob_agent.client.apps import AgentApps
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
from smartmob_agent.client.errors import AddressError, ProcessFailedError
from smartmob_agent.client.events import EventsReader, Happening, state_in
from smartmob_agent.client.feed import Feed
from smartmob_agent.client.identity import path_of
from smartmob_agent.client.log import LogPart, LogReader
from smartmob_agent.client.network import Requests, Sockets
from smartmob_agent.client.reconnect import ReconnectBackoff
from smartmob_agent.client.records import Record
from smartmob_agent.client.transport import FileBody, open_transport

__all__ = ["Client", "open_client", "open_over"]

_TOKEN = re.compile(r"[!-~]+")


class Client:
    """A client of one agent; `open_client` makes one.

    All calls raise `ClientError`: `NoConnectionError` when the agent does not answer,
    `RefusedError` when the agent rejects the request.  Several tasks may call at the same time.

    apps: its apps: see `AgentApps`.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        requests: Requests,
        make_sockets: Callable[[], Sockets],
        *,
        reconnect_timeout: float,
    ) -> None:
        self._nursery = nursery
        self._requests = requests
        self._make_sockets = make_sockets
        self._reconnect_timeout = reconnect_timeout
        self.apps = AgentApps(requests)

    async def list_processes(self) -> list[Process]:
        """Return the status of all processes, in order of creation."""
        answer = await self._requests.request("GET", "/list-processes")
        return parse_processes(answer.document())

    async def create(
        self,
        *,
        app: str,
        node: str,
        process_type: str | None = None,
        source_url: str,
        source_sha256: str | None = None,
        env: Mapping[str, str] | None = None,
        **wishes: object,
    ) -> Process:
        """Create a process and return its first status, before anything is downloaded.

        source_url: URL of the archive, or the `source_url` that `upload` returned.
        source_sha256: required SHA-256 digest of the archive, as 64 hexadecimal digits.
        process_type: of the Procfile; None if `wishes` have a `command`.
        env: variable name → value.
        wishes: further fields of the request, as JSON, such as `command`, `restart`, `port`,
            `ready` and `stop`; those that are None are left out.

        Raises `ConflictError` when a process of this app and node exists, or has this port.
        """
        document: dict[str, object] = {
            "app": app,
            "node": node,
            "source_url": source_url,
            "env": dict(env or {}),
        }
        wishes |= {"process_type": process_type, "source_sha256": source_sha256}
        document |= {name: value for name, value in wishes.items() if value is not None}
        body = json.dumps(document).encode()
        answer = await self._requests.request("POST", "/create-process", body=body)
        return parse_process(answer.document())

    async def status(self, slug: str) -> Process:
        """Return the status of a process."""
        answer = await self._requests.request("GET", path_of("process-status", slug))
        return parse_process(answer.document())

    async def delete(self, slug: str) -> None:
        """Delete a process and wait until nothing of it is left.

        If cancelled: stops waiting; the agent deletes the process all the same.
        """
        await self._requests.request("POST", path_of("delete-process", slug), long_running=True)

    async def restart(self, slug: str, *, wait: bool = False) -> Process:
        """Restart a process at once; raises `ConflictError` when its state does not allow that.

        wait: return only when the new child runs or has failed.
        """
        path, query = path_of("restart-process", slug), {"wait": int(wait)}
        answer = await self._requests.request("POST", path, query=query, long_running=True)
        return parse_process(answer.document())

    async def replace(
        self, slug: str, request: Mapping[str, object], *, wait: bool = True
    ) -> Process:
        """Put another version in the place of a process.

        request: as of `create`, without `app` and `node`; also `order` and `drain`.
        wait: return only when the new version has the place.

        Raises `ConflictError` when it came to nothing and the old version goes on; `step` and
        `lines` of its document say where, and with which last output.
        """
        path, query = path_of("replace-process", slug), {"wait": int(wait)}
        body = json.dumps(request).encode()
        answer = await self._requests.request(
            "POST", path, query=query, body=body, long_running=True
        )
        return parse_process(answer.document())

    async def send_signal(self, slug: str, signal: str) -> None:
        """Send a signal, such as `HUP`, to the child; raises `ConflictError` when none runs."""
        body = json.dumps({"signal": signal}).encode()
        await self._requests.request("POST", path_of("signal-process", slug), body=body)

    async def wait_state(self, slug: str, *states: str) -> str:
        """Wait until a process is in one of these states, and return that state.

        states: names of states; `gone` means deleted.

        Raises `NoSuchProcessError`, and `ProcessFailedError` when the process is deleted or enters
        a failure state that was not waited for; after a failure only `stopping` and `gone` follow.
        """
        if GONE not in states:
            await self.status(slug)
        # A process leaves a failure state only when it is deleted.
        ends = {GONE} if {"stopping", GONE} & {*states} else {*FAILURES, GONE}
        return await self._wait(slug, lambda state, _ready: state in states, ends)

    async def wait_ready(self, slug: str) -> None:
        """Wait until the child of a process counts as started well.

        Raises `NoSuchProcessError`, and `ProcessFailedError` when the process has finished, fails
        for good or is deleted.
        """
        await self.status(slug)
        await self._wait(slug, lambda _state, ready: ready, {*FAILURES, "finished", GONE})

    async def _wait(
        self, slug: str, is_it: Callable[[str, bool], bool], ends: Collection[str]
    ) -> str:
        """Follow the states of a process until `is_it`, which is told state and readiness."""
        async with self.events(slugs=[slug]) as events:
            async for happening in events:
                state, error, ready = state_in(happening)
                if is_it(state, ready):
                    return state
                if state in ends:
                    raise ProcessFailedError(slug, state, error)
        raise ProcessFailedError(slug, "the agent has stopped", None)

    def events(self, *, slugs: Sequence[str] = (), apps: Sequence[str] = ()) -> Feed[Happening]:
        """Follow the states of processes: a `Snapshot`, then each `Change`, and the `AppNews`.

        slugs, apps: only processes with these slugs and of these apps; all if both are empty.
            With slugs there is no news of apps.

        A lost connection is retried; a `Gap` reports changes that were missed meanwhile.
        """
        reader = EventsReader(
            self._requests, slugs=slugs, apps=apps, backoff=self._new_backoff("events")
        )
        return Feed(self._nursery, reader.run)

    async def upload(
        self, archive: Path, *, progress: Callable[[int, int], object] = lambda _sent, _all: None
    ) -> Upload:
        """Upload an archive to the agent; pass the `source_url` of the result to `create`.

        progress: called with the bytes sent so far and the size of the archive in bytes.

        Raises `OSError` when the archive cannot be read.
        """
        async with await trio.open_file(archive, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            answer = await self._requests.request(
                "PUT",
                "/upload-source",
                body=FileBody(file, size, progress),
                headers={"Content-Length": str(size)},
                long_running=True,
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
        """Follow the output of a process, line by line, from now on.

        tail: start with this many of the last lines that the agent still has; None means all.
        after: start with the line after this number instead.
        stream: only lines of `stdout` or of `stderr`.

        A lost connection is retried: no line is missing and none comes twice.
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
        """Follow the output as `attach` does, with the events of the process between its lines."""
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
        since: str | None = None,
        until: str | None = None,
        grep: str | None = None,
    ) -> Feed[LogPart]:
        """Read the log of a process as bytes, many lines at once: the fastest way.

        form: `text`, or `ndjson` for one record a line.
        tail, after: as for `attach`; without both, all lines that the agent still has.
        follow: continue with new lines, across lost connections.
        since, until: only lines of that time: RFC 3339, or how long ago, such as `3h`.
        grep: only lines with a match of this regular expression, of Python.

        Also for a process that was deleted, while the agent keeps its output.
        """
        looks = {"since": since, "until": until, "grep": grep}
        reader = LogReader(
            self._requests,
            slug,
            form=form,
            query={"tail": tail, "after": after, "follow": int(follow), **looks},
            backoff=self._new_backoff(slug),
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
            backoff=self._new_backoff(slug),
        )

    def _new_backoff(self, what: str) -> ReconnectBackoff:
        return ReconnectBackoff(self._reconnect_timeout, what)


@asynccontextmanager
async def open_client(
    url: str,
    *,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    timeout: float = 30.0,
    reconnect_timeout: float = 60.0,
) -> AsyncGenerator[Client]:
    """Open a client of the agent at a URL; the first call makes the first connection.

    url: `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`.
    token: one of the tokens in the agent's `--token-file`.
    tls: which certificates to trust, and the client certificate, for https; None trusts what the
        system trusts.
    timeout: seconds without progress before a request fails.
    reconnect_timeout: seconds for which streams (`attach`, `records`, `log`, `events`) retry a lost
        connection before they raise.

    Raises `AddressError` for a malformed URL or token.  On exit every connection is closed.
    """
    address = parse_address(url)
    if token is not None and not _TOKEN.fullmatch(token):
        raise AddressError("expected a token of visible ASCII characters")
    if address.tls and tls is None:
        tls = ssl.create_default_context()

    def make_sockets() -> Sockets:
        # Loaded late: most commands need none.
        from smartmob_agent.client.websockets import WebSockets

        return WebSockets(address, token=token, tls=tls)

    async with (
        open_transport(address, token=token, tls=tls, timeout=timeout) as transport,
        open_over(transport, make_sockets, reconnect_timeout=reconnect_timeout) as client,
    ):
        yield client


@asynccontextmanager
async def open_over(
    requests: Requests, make_sockets: Callable[[], Sockets], *, reconnect_timeout: float
) -> AsyncGenerator[Client]:
    """Open a client over any network; an error in the block leaves it without a group around it."""
    error: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield Client(nursery, requests, make_sockets, reconnect_timeout=reconnect_timeout)
        except Exception as exc:  # noqa: BLE001 -- raised below
            error = exc
        nursery.cancel_scope.cancel(reason="the client is closed")
    if error is not None:
        raise error

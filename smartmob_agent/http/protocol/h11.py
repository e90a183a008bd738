"""HTTP/1.1 by hypercorn's protocol objects, with what they lack.

This module, `http_stream.py` and `ws_stream.py` are the only importers of hypercorn
(0.18, whose protocol objects are half private), h11 and wsproto.  From hypercorn come the ASGI
translation and its states: `H11Protocol`, `HTTPStream`, `WSStream`.  Sockets, tasks and time
are ours (`connection.py`), so are the checks of requests and the answers to bad ones.
"""

from __future__ import annotations

import logging
from http.client import responses
from math import inf
from typing import Any, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent, Request, Response
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, TaskGroup

from smartmob_agent.config.settings import HttpLimits
from smartmob_agent.http.body_limits import Bodies
from smartmob_agent.http.headers import new_request_id
from smartmob_agent.http.problems import Refusal, plain_refusal
from smartmob_agent.http.protocol.checks import CheckedRequest, RefusedRequestError, check_request
from smartmob_agent.http.protocol.http_stream import RequestStream
from smartmob_agent.http.protocol.transport import Tasks, Transport
from smartmob_agent.http.protocol.ws_stream import WebSocketStream

__all__ = ["Protocol", "ProtocolSettings"]


class ProtocolSettings:
    """What all connections of one server share."""

    def __init__(self, limits: HttpLimits, bodies: Bodies) -> None:
        self.limits, self.bodies = limits, bodies
        self.config = Config()
        self.config.errorlog = logging.getLogger("hypercorn.error")
        self.config.include_server_header = False
        self.config.websocket_max_message_size = limits.message_bytes
        self.context = WorkerContext(None)

    @property
    def stopping(self) -> bool:
        return self.context.terminated.is_set()

    async def stop(self) -> None:
        """From now on each answer is the last of its connection."""
        await self.context.terminated.set()


class _H11(h11.Connection):
    """What follows a request that says it is the last is no error, it counts for nothing."""

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        return False  # else hypercorn would let them go on before we know what we say

    def next_event(self) -> Any:
        if self.their_state is h11.MUST_CLOSE:
            return h11.NEED_DATA
        return super().next_event()


class Protocol(H11Protocol):
    """One connection: bytes in, calls of the application and bytes out."""

    def __init__(
        self,
        settings: ProtocolSettings,
        wire: Transport,
        *,
        tls: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
    ) -> None:
        super().__init__(
            cast("Any", None),  # the connection knows the application
            settings.config,
            settings.context,
            cast("TaskGroup", Tasks(wire)),
            ConnectionState({}),
            tls,
            client,
            server,
            self._take,
        )
        self.settings, self.limits, self.wire = settings, settings.limits, wire
        self._h11 = _H11(h11.SERVER, max_incomplete_event_size=self.limits.header_bytes)
        self.connection = self._h11
        self._head_bytes = 0
        self._held = b""
        self._hold = False
        self._bodiless = False

    @property
    def idle(self) -> bool:
        """Is no request being worked on?"""
        return self.stream is None

    def start(self) -> None:
        """From now on the peer has `header_timeout` seconds for its next headers."""
        self._head_bytes = 0
        self.wire.read_until(trio.current_time() + self.limits.header_timeout)

    async def receive(self, data: bytes) -> None:
        """Take what the peer sent; empty: it sends no more."""
        if self.idle and not self._head_bytes:
            self.wire.read_until(trio.current_time() + self.limits.header_timeout)
        self._head_bytes += len(data)
        if self._h11.their_state is not h11.MUST_CLOSE:  # else it has said that it is done
            await self.handle(RawData(data))
        if isinstance(self.stream, RequestStream) and self._h11.their_state is h11.SEND_BODY:
            self.stream.wait_body()  # the application may have taken its time
        if not data and isinstance(self.stream, WebSocketStream):
            await self.stream.probe()

    async def lose(self) -> None:
        """Tell the application that the peer is gone."""
        await self.handle(Closed())

    async def time_out(self) -> None:
        """The time that was set by `read_until` has come."""
        if isinstance(self.stream, WebSocketStream) or (self.idle and not self._head_bytes):
            self.wire.finish(linger=False)  # it did not answer our close frame, or had no wish
        else:
            await self.refuse(plain_refusal(408))

    async def refuse(self, refusal: Refusal) -> None:
        """Answer in the place of the application, if it has not begun to, and end."""
        await self.answer(refusal)
        await self._close_stream()
        self.wire.finish(linger=True)

    async def answer(self, refusal: Refusal) -> None:
        """Send a problem document, which is the last on this connection."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers, body = refusal.encode(new_request_id())
        await self._send_head(refusal.status, headers)
        if not self._bodiless:
            await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())

    async def proceed(self) -> None:
        """Ask for the body, if the client waits for that (RFC 9110, section 10.1.1)."""
        if self._h11.client_is_waiting_for_100_continue:
            await self._send_head(100, [])

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response):
            headers = list(event.headers)
            if event.status_code >= 200 and self._is_last():
                headers.append((b"connection", b"close"))
            await self._send_head(event.status_code, headers)
        else:
            await super().stream_send(event)

    def _is_last(self) -> bool:
        return (
            self.settings.stopping
            # The rest of the body is not read, or nothing comes after it.
            or self._h11.their_state in (h11.SEND_BODY, h11.CLOSED)
            or isinstance(self.connection, H11WSConnection)
            or self.keep_alive_requests >= self.config.keep_alive_max_requests
        )

    async def _send_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        headers = [*headers, *self.config.response_headers("h11")]
        reason = responses.get(status, "").encode()
        # A head goes out with the first piece of its body, unless that may come late: a stream.
        self._hold = any(name.lower() == b"content-length" for name, _ in headers)
        head = h11.Response if status >= 200 else h11.InformationalResponse
        try:
            await self._send_h11_event(head(headers=headers, status_code=status, reason=reason))
        finally:
            self._hold = False

    async def _send_error_response(self, status_code: int) -> None:
        await self.answer(plain_refusal(status_code))

    async def _take(self, event: Event) -> None:
        """What the protocol wants of its connection."""
        if isinstance(event, RawData):
            # Mostly nothing is held: then the data, shared by many clients, is not copied.
            data = self._held + event.data if self._held else event.data
            self._held = data if self._hold else b""
            if data and not self._hold:
                await self.wire.write(data)
        elif isinstance(event, Closed):
            # TLS has no half of a close: lingering would keep a peer that waits for our end.
            unread = self._h11.their_state in (h11.SEND_BODY, h11.ERROR)
            self.wire.finish(linger=unread or not self.ssl)
        elif isinstance(event, Updated) and event.idle:
            self.start()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Neither an upgrade to HTTP/2 nor HTTP/2 without one."""

    async def _create_stream(self, request: h11.Request) -> None:
        self._bodiless = request.method == b"HEAD"
        try:
            checked = check_request(
                request.method,
                request.target,
                list(request.headers),
                request.http_version,
                header_bytes=self.limits.header_bytes,
                bodies=self.settings.bodies,
            )
        except RefusedRequestError as error:
            await self.refuse(error.refusal)
            return
        self.keep_alive_requests += 1
        self.stream = self._open_stream(checked)
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=checked.headers,
                http_version=request.http_version.decode("ascii"),
                method=checked.method,
                raw_path=checked.target,
                state=self.connection_state,
            )
        )

    def _open_stream(self, checked: CheckedRequest) -> HTTPStream | WebSocketStream:
        common = (
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        if not checked.websocket:
            stream = RequestStream(*common, owner=self, limits=checked.body)
            stream.wait_body()
            return stream
        self.wire.read_until(inf)
        self.connection = H11WSConnection(self._h11)
        return WebSocketStream(*common, owner=self)

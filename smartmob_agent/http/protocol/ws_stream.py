"""WebSockets by hypercorn's `WSStream`, with what it lacks.  See `protocol.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import trio
from hypercorn.protocol.events import Body, Data, Event, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message as MessageFrame, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from smartmob_agent.http.asgi import Message, Scope, Send
from smartmob_agent.http.extensions import FRAMES_MESSAGE, offer_write_now
from smartmob_agent.http.problems import plain_refusal
from smartmob_agent.http.protocol.http_stream import StreamOwner

__all__ = ["WebSocketStream"]


class WebSocketStream(WSStream):
    """One WebSocket, from its handshake to the end of its closing handshake."""

    def __init__(self, *common: Any, owner: StreamOwner) -> None:
        super().__init__(*common)
        self._owner, self._limits, self._wire = owner, owner.limits, owner.wire
        self._accepted = trio.Event()
        self._pinging = trio.CancelScope()
        self._message_bytes = 0
        self._pings = 0
        self._awaited_pong: bytes | None = None
        self._close_code = CloseReason.ABNORMAL_CLOSURE.value

    async def handle(self, event: Event) -> None:
        if isinstance(event, StreamClosed):
            await self._end()
        else:
            if isinstance(event, (Body, Data)):
                # Frames that come with the handshake wait for the answer to it.
                await self._accepted.wait()
            await super().handle(event)

    async def app_send(self, message: Any) -> None:
        if message is None:
            await self._return()
        elif message["type"] == FRAMES_MESSAGE:
            if self._open:
                await self._wire.write(message["frames"])
        else:
            await super().app_send(message)
            if message["type"] == "websocket.close" and self.state is ASGIWebsocketState.CLOSED:
                self._close_code = int(message.get("code", self._close_code))
                self._await_close()

    async def probe(self) -> None:
        """Send a ping that needs no answer: a peer that has gone for good resets the connection."""
        if self._open:
            await self._send_wsproto_event(Ping())

    @property
    def _open(self) -> bool:
        return (
            self.state is ASGIWebsocketState.CONNECTED
            and self.connection.state is ConnectionState.OPEN
        )

    def _write_now(self, frames: Sequence[bytes]) -> int:
        return self._wire.write_now(frames) if self._open else 0

    async def _return(self) -> None:
        """The application has returned; what it left open is an error."""
        if self.closed or self.state is ASGIWebsocketState.CLOSED:
            return  # what is left is the peer's answer to our close frame
        if not self.handshake.accepted and self.state is not ASGIWebsocketState.HTTPCLOSED:
            await self._send_error_response(500)
        elif self._open:
            await self._close(CloseReason.INTERNAL_ERROR.value)
            return
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _end(self) -> None:
        self.closed = True
        self._pinging.cancel()
        await self._tell({"type": "websocket.disconnect", "code": self._close_code})

    async def _tell(self, message: Message) -> None:
        await cast("Send", self.app_put)(message)  # hypercorn sets it with the first event

    async def _accept(self, message: Any) -> None:
        self.handshake.extensions = None  # no compression: it costs memory, and can be a bomb
        await super()._accept(message)
        offer_write_now(cast("Scope", self.scope), self._write_now)
        self._accepted.set()
        self._wire.start_task(self._ping)

    async def _send_error_response(self, status_code: int) -> None:
        await self._owner.answer(plain_refusal(status_code))

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, MessageFrame):
                await self._take_message(event)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, Pong):
                if bytes(event.payload) == self._awaited_pong:
                    self._awaited_pong = None
            elif isinstance(event, CloseConnection):  # pragma: no branch -- there is no other
                await self._take_close(event)

    async def _take_message(self, event: MessageFrame[Any]) -> None:
        if self.state is not ASGIWebsocketState.CONNECTED:
            return  # we have closed; the peer does not know yet
        data = event.data.encode() if isinstance(event, TextMessage) else event.data
        self._message_bytes += len(data)
        if self._message_bytes > self._limits.message_bytes:
            await self._close(CloseReason.MESSAGE_TOO_BIG.value)
            return
        self.buffer.extend(event)
        if event.message_finished:
            message = self.buffer.to_message()
            self.buffer.clear()
            self._message_bytes = 0
            await self._tell(message)

    async def _take_close(self, event: CloseConnection) -> None:
        """The peer closes, or answers our close frame, or has broken the protocol."""
        broken = self.connection.state is ConnectionState.OPEN
        if self.state is ASGIWebsocketState.CONNECTED:
            self._close_code = event.code
            self.state = ASGIWebsocketState.CLOSED
            await self._send_wsproto_event(CloseConnection(code=event.code, reason=event.reason))
        self._wire.finish(linger=broken)  # else there is nothing more to come
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _close(self, code: int) -> None:
        """Close without the application, which learns of it at once."""
        self.state = ASGIWebsocketState.CLOSED
        self._close_code = code
        self._await_close()
        await self._send_wsproto_event(CloseConnection(code=code))
        await self._tell({"type": "websocket.disconnect", "code": code})

    def _await_close(self) -> None:
        self._pinging.cancel()
        self._wire.read_until(trio.current_time() + self._limits.graceful_timeout)

    async def _ping(self) -> None:
        with self._pinging:
            while True:
                await trio.sleep(self._limits.ping_interval)
                if self._awaited_pong is not None:
                    self._wire.abort()
                    return
                self._pings += 1
                self._awaited_pong = str(self._pings).encode()
                await self._send_wsproto_event(Ping(payload=self._awaited_pong))

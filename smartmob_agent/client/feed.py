"""A stream of items that a background task fetches, read with `async for`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

import trio

from smartmob_agent.client.errors import ClientError

__all__ = ["Feed"]

T = TypeVar("T")


class Feed(Generic[T]):
    """Items as they come, until the end of the stream.

    Its task belongs to the client and starts with the first read, or with `async with`, which
    also ends it.  Without `async with`, a feed that is left before its end keeps its connection
    until the client is closed.  Nothing is read ahead: a slow reader slows its own connection.

    produce: sends items until the end; a `ClientError` that it raises reaches the reader.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        produce: Callable[[trio.MemorySendChannel[T]], Awaitable[None]],
    ) -> None:
        self._nursery = nursery
        self._produce = produce
        self._send, self._receive = trio.open_memory_channel[T](0)
        self._scope = trio.CancelScope()
        self._started = False
        self._finished = trio.Event()
        self._error: ClientError | None = None

    async def receive(self) -> T:
        """Wait for the next item.

        Raises `trio.EndOfChannel` at the end, and `ClientError` on failure.
        If cancelled: no item is lost, the next call returns it.
        """
        self._start()
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            if self._error is None:
                raise
            error, self._error = self._error, None
        raise error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; `receive` then raises `trio.EndOfChannel`.

        If cancelled: the connection is closed all the same.
        """
        self._scope.cancel(reason="the feed was closed")
        if self._started:
            await self._finished.wait()
        else:
            self._send.close()
            await trio.lowlevel.checkpoint()

    def _start(self) -> None:
        if not self._started and not self._scope.cancel_called:
            self._started = True
            self._nursery.start_soon(self._run, name=f"feed {id(self):x}")

    async def _run(self) -> None:
        try:
            with self._scope, self._send:
                await self._produce(self._send)
        except ClientError as exc:
            self._error = exc
        finally:
            self._finished.set()

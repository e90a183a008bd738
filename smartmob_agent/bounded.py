"""Calls that may hang for ever, such as those of a disk that does not answer.

The event loop makes none of them: a call that hangs there stops every process and client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs
import trio

__all__ = ["call_bounded", "call_without_threads"]

ResultT = TypeVar("ResultT")


_without_threads = trio.lowlevel.RunVar("without_threads", False)


def call_without_threads() -> None:
    """From now on, in this `trio.run`, call in the event loop.

    For tests that decide the order of all tasks: when a thread ends is nothing that they decide.
    """
    _without_threads.set(True)


async def call_bounded(
    function: Callable[[], ResultT],
    *,
    limit: float,
    discard: Callable[[ResultT], object] = lambda _result: None,
) -> ResultT:
    """Call a function in a thread, and wait for it for at most `limit` seconds.

    The seconds are real ones: no clock of a test is ahead of the disk.
    discard: is given, in that thread, what comes too late.

    Raises what the function raises, and `TimeoutError`; then its thread hangs on.  If cancelled:
    waits all the same, so that nothing is left open that was about to be.
    """
    if _without_threads.get():
        await trio.lowlevel.checkpoint()
        return function()
    call = _Call(function, discard)
    # Of its own, and a daemon: one that hangs takes no place from others, and lets us end.
    threading.Thread(target=call.run, name=f"bounded {function!r}"[:80], daemon=True).start()
    await trio.to_thread.run_sync(call.ended.wait, limit)
    return call.take()


@attrs.define(eq=False)
class _Call(Generic[ResultT]):
    _function: Callable[[], ResultT]
    _discard: Callable[[ResultT], object]
    ended: threading.Event = attrs.field(factory=threading.Event, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _results: list[ResultT] = attrs.field(factory=list, init=False)
    _error: Exception | None = attrs.field(default=None, init=False)
    _is_late: bool = attrs.field(default=False, init=False)

    def run(self) -> None:
        try:
            result = self._function()
        except Exception as error:  # noqa: BLE001 -- raised by `take`
            self._error = error
            self.ended.set()
            return
        with self._lock:
            self._results.append(result)
            self.ended.set()
            is_late = self._is_late
        if is_late:
            self._discard(result)

    def take(self) -> ResultT:
        with self._lock:
            self._is_late = not self.ended.is_set()
        if self._is_late:
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._results.pop()

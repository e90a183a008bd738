"""On the PYTHONPATH of an agent: tells on a pipe what it still has whenever it has nothing to do.

On SIGUSR2 it tells on another one which objects of the agent's own classes live.

Python imports a module of this name when it starts: see the module `site`.
"""

from __future__ import annotations

import collections
import gc
import json
import os
import signal
import struct
import threading
from functools import partial
from typing import Any

NOTHING_SOON = 60
"""Seconds: whoever has a client or a child waits for no moment that is further away."""


class Counter:
    """Tells how many tasks and threads of workers there are."""

    def __init__(self, fd: int) -> None:
        self._fd, self._lock = fd, threading.Lock()
        self._tasks = self._threads = 0
        self._waits = False

    def count_thread(self, change: int) -> None:
        with self._lock:
            self._threads += change
            if self._waits:
                self._tell()

    def task_spawned(self, _: object) -> None:
        self._tasks += 1

    def task_exited(self, _: object) -> None:
        self._tasks -= 1

    def before_io_wait(self, timeout: float) -> None:
        with self._lock:
            self._waits = timeout > NOTHING_SOON
            if self._waits:
                self._tell()

    def after_io_wait(self, _: float) -> None:
        with self._lock:
            self._waits = False

    def _tell(self) -> None:
        os.write(self._fd, struct.pack("<II", self._tasks, self._threads))


def count(counter: Counter) -> None:
    """Count the tasks and threads of trio."""

    class Thread(threading.Thread):
        def run(self) -> None:
            if self.name == "log writer":  # one for the life of the command, and none of trio
                super().run()
                return
            counter.count_thread(1)
            try:
                super().run()
            finally:
                counter.count_thread(-1)

    threading.Thread = Thread  # type: ignore[misc]  # before trio takes it from there
    import trio

    # Threads that have nothing to do end soon, and not after 10 s; else this would only be slower.
    trio._core._thread_cache.IDLE_TIMEOUT = 1
    instruments: Any = [counter]
    trio.run = partial(trio.run, instruments=instruments)  # type: ignore[assignment]  # for `main`


def tell_objects(fd: int, *_: object) -> None:
    """Write a line of JSON: how many objects of each class of the agent there are."""
    gc.collect()
    classes = collections.Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in map(type, gc.get_objects())
        if str(kind.__module__).startswith("smartmob_agent.")
    )
    os.write(fd, json.dumps(classes).encode() + b"\n")


_PIPES = os.environ.pop("SMARTMOB_TEST_COUNTS", None)
if _PIPES is not None:
    _COUNTS, _OBJECTS = (os.open(one, os.O_WRONLY | os.O_CLOEXEC) for one in _PIPES.split(":"))
    count(Counter(_COUNTS))
    signal.signal(signal.SIGUSR2, partial(tell_objects, _OBJECTS))

"""A new version of a process: what is asked for, and how it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import attrs
import trio

from smartmob_agent.errors import BadRequestError, RequestError, copy_error
from smartmob_agent.output.batch import Batch
from smartmob_agent.output.console import Console
from smartmob_agent.process.lifecycle import Transition
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.process.states import State

__all__ = [
    "Order",
    "ReplaceAttempt",
    "ReplaceFailedError",
    "ReplaceSupersededError",
    "Replacement",
    "last_lines",
    "lines_of",
    "order_of",
]

Order = Literal["start-first", "stop-first"]
"""Whether the new child runs beside the old one until it is ready, or after it."""

_LINES = 20
"""Of the output of a child that has failed."""

_STEPS: Mapping[State, str] = {
    State.DOWNLOADING: "downloading",
    State.UNPACKING: "unpacking",
    State.PROCESSING: "processing",
    State.BUILDING: "building",
    State.RUNNING: "waiting",
}


class ReplaceFailedError(RequestError):
    """The new version did not come up; the old one goes on.

    step: how far it came: see `ReplaceAttempt.step`.
    lines: the last lines of its output.
    """

    status = 409

    def __init__(self, slug: str, step: str, reason: str, lines: Sequence[str] = ()) -> None:
        super().__init__(f"{slug} goes on as it was: {step} failed: {reason}")
        self.slug = slug
        self.step = step
        self.reason = reason
        self.lines = tuple(lines)

    @property
    def members(self) -> Mapping[str, object]:
        return {"step": self.step, "lines": list(self.lines)}


class ReplaceSupersededError(RequestError):
    """Somebody has asked for yet another version, or called this one off."""

    status = 409

    def __init__(self, slug: str) -> None:
        super().__init__(f"another version of {slug} was asked for before this one was ready")
        self.slug = slug


@attrs.frozen(kw_only=True)
class Replacement:
    """What is to take the place of a process.

    spec: with the same app and node.
    order: None for what fits: start first where the child has a port that the agent chooses.
    drain: seconds for which the old child goes on when the new one is ready; only if it starts
        first.
    lasts: whether it goes on when the agent is started again; else the old version does.
    """

    spec: ProcessSpec
    order: Order | None = None
    drain: float = 5.0
    lasts: bool = True


def order_of(replacement: Replacement) -> Order:
    """Return the order in which it goes.

    Raises `BadRequestError` when two children would want the same port.
    """
    spec, order = replacement.spec, replacement.order
    if isinstance(spec.port, int):
        if order == "start-first":
            error = f"only one child can have the port {spec.port}: expected stop-first @ $.order"
            raise BadRequestError("the replace request is not valid", [error])
        return "stop-first"
    if order is not None:
        return order
    return "start-first" if spec.port == "auto" and "PORT" not in spec.env else "stop-first"


@attrs.define(eq=False, kw_only=True)
class ReplaceAttempt:
    """One replacement, under way or over.

    step: `pending`, `downloading`, `unpacking`, `processing`, `building`, `starting`, `waiting`
        (until it is ready), `draining`, `done` or `failed`.
    has_switched: the new version has the place of the old one.
    """

    slug: str
    replacement: Replacement
    order: Order
    step: str = "pending"
    has_switched: bool = False
    is_switching: bool = False
    """That cannot be called off any more."""
    _error: RequestError | None = None
    _kept: trio.Event = attrs.field(factory=trio.Event)
    _ended: trio.Event = attrs.field(factory=trio.Event)
    _moved: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def wait_kept(self) -> None:
        """Wait until it is kept, if it is to outlive the agent.

        Raises `StateFullError` and `StateFailedError` when it cannot be: then it never begins;
        and `ReplaceSupersededError`.
        """
        await self._kept.wait()
        if self._error is not None and self.step == "pending":
            raise copy_error(self._error) from self._error

    async def wait_switched(self) -> None:
        """Wait until the new version has the place of the old one, which may still drain.

        Raises what `wait` raises.
        """
        await trio.lowlevel.checkpoint()
        while not self.has_switched and not self._ended.is_set():
            await self._moved.park()
        self._check()

    async def wait(self) -> None:
        """Wait until it is done: the new version is ready, and nothing is left of the old one.

        Raises `ReplaceFailedError`, `ReplaceSupersededError`, and `StateFullError` or
        `StateFailedError` when it could not be kept: then the old version goes on.

        If cancelled: stops waiting; the replacement goes on.
        """
        await self._ended.wait()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise copy_error(self._error) from self._error

    @property
    def has_ended(self) -> bool:
        """Whether it is over, one way or the other."""
        return self._ended.is_set()

    @property
    def error(self) -> RequestError | None:
        """Why it came to nothing; None if it did not, or not yet."""
        return self._error

    def note_kept(self) -> None:
        """It may begin."""
        self._kept.set()

    def note(self, transition: Transition) -> None:
        """The new version has taken a step, which nobody else sees."""
        if transition.state in _STEPS:
            self.move(_STEPS[transition.state])

    def move(self, step: str) -> None:
        """Enter a step."""
        self.step = step
        self._moved.unpark_all()

    def switch(self) -> None:
        """The new version has the place."""
        self.has_switched = True
        self.move("draining")

    def fail(self, error: RequestError) -> None:
        """It comes to nothing; only the first error counts."""
        if self._error is None and not self.has_switched:
            self._error = error

    def end(self) -> None:
        """Nothing is under way any more."""
        if self._error is None:
            self.step = "done"
        elif self.step != "pending":
            self.step = "failed"
        self._kept.set()
        self._ended.set()
        self._moved.unpark_all()


def last_lines(console: Console, pids: set[int]) -> list[str]:
    """Return the last lines that some children have written, as far as they are still there."""
    return _last(console, lambda batch: batch.origin.pid in pids)


def lines_of(console: Console) -> list[str]:
    """Return the last lines of a console, as far as they are still there."""
    return _last(console, lambda _: True)


def _last(console: Console, wants: Callable[[Batch], bool]) -> list[str]:
    found: list[str] = []
    for item in reversed(console.items):
        if isinstance(item, Batch) and wants(item):
            lines = item.lines[-_LINES:]
            found += [line.decode() for line in reversed(lines)]
            if len(found) >= _LINES:
                break
    return found[_LINES - 1 :: -1] if len(found) >= _LINES else found[::-1]

"""What of an app outlives the agent: one document of the store of state."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs
import trio
from cattrs import BaseValidationError, Converter

from smartmob_agent.apps.wanted import AppState
from smartmob_agent.errors import StartError
from smartmob_agent.process.policies import PortWish
from smartmob_agent.state.seam import Key, StateFailedError, StateStore

__all__ = ["KIND", "AppRecord", "parse_app"]

KIND = "app"
"""Of the documents of apps."""

_VERSION = 1

_WRITE_TIMEOUT = 10.0
"""Seconds to wait for a disk that hangs; a write takes some milliseconds."""


def parse_app(key: Key, value: Mapping[str, object]) -> AppState:
    """Read a document; raises `StartError` when this agent cannot."""
    if value.get("v") != _VERSION:
        found = value.get("v")
        raise StartError(f"expected a document of version {_VERSION}, found {found!r} @ {key}")
    try:
        return _converter.structure({k: v for k, v in value.items() if k != "v"}, AppState)
    except (BaseValidationError, ValueError, TypeError) as exc:
        raise StartError(f"expected the document of an app @ {key}: {exc}") from exc


@attrs.define(eq=False)
class AppRecord:
    """The state of one app, and its document, which this alone writes.

    store: None if nothing is to outlive the agent.
    state: what the document says, or would.
    """

    _store: StateStore | None
    state: AppState
    _revision: int = 0
    _turn: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def key(self) -> Key:
        return KIND, self.state.name

    async def change(self, change: Callable[[AppState], AppState]) -> None:
        """Return when the change is kept: it sees all changes before it.

        Raises `StateFullError`, `StateFailedError` and `BodyTooLargeError`: then nothing changed.

        If cancelled: waits for the answer of the disk all the same, 10 s at most.
        """
        with trio.move_on_after(_WRITE_TIMEOUT, shield=True):
            async with self._turn:
                wanted = change(self.state)
                if self._store is not None and (wanted != self.state or not self._revision):
                    document = {"v": _VERSION, **_converter.unstructure(wanted)}
                    self._revision = await self._store.compare_and_set(
                        self.key, document, expected=self._revision
                    )
                self.state = wanted
                return
        raise StateFailedError("the disk of the state does not answer")

    async def remove(self) -> None:
        """Return when there is no document any more; as `change`."""
        with trio.move_on_after(_WRITE_TIMEOUT, shield=True):
            async with self._turn:
                if self._store is not None and self._revision:
                    await self._store.compare_and_set(self.key, None, expected=self._revision)
                    self._revision = 0
                return
        raise StateFailedError("the disk of the state does not answer")


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    converter.register_unstructure_hook(signal.Signals, lambda number: number.name)
    converter.register_structure_hook(signal.Signals, lambda name, _: signal.Signals[name])
    converter.register_structure_hook(PortWish, lambda wish, _: wish)
    converter.register_structure_hook_func(
        lambda kind: bool(kind == Mapping[str, Any]), lambda given, _: given
    )
    return converter


_converter = _make_converter()

"""What of a process outlives the agent: one document of the store of state."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

import attrs
import trio
from cattrs import BaseValidationError, Converter, transform_error

from smartmob_agent.child.seam import Exit
from smartmob_agent.errors import StartError
from smartmob_agent.process.policies import PortWish
from smartmob_agent.process.replacement import Order, Replacement
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.state.seam import Key, StateFailedError, StateStore

__all__ = [
    "KIND",
    "WRITE_TIMEOUT",
    "KeptProcess",
    "KeptReplacement",
    "ProcessRecord",
    "parse_record",
]

KIND = "process"
"""Of the documents of processes."""

_VERSION = 1

WRITE_TIMEOUT = 10.0
"""Seconds to wait for a disk that hangs; a write takes some milliseconds."""


@attrs.frozen(kw_only=True)
class KeptReplacement:
    """What is kept of a replacement that is under way."""

    spec: ProcessSpec
    order: str | None
    drain: float

    @classmethod
    def of(cls, replacement: Replacement) -> KeptReplacement:
        return cls(spec=replacement.spec, order=replacement.order, drain=replacement.drain)

    @property
    def replacement(self) -> Replacement:
        return Replacement(spec=self.spec, order=cast("Order | None", self.order), drain=self.drain)


@attrs.frozen(kw_only=True)
class KeptProcess:
    """What is kept of a process.

    found_sha256: digest of the archive that it had; None before it had one.
    port: that it had last.
    starts: how many children it has had, about: see `ManagedProcess`.
    exit: how the last child ended, if the process has finished.
    replacing: what is to take its place.
    """

    spec: ProcessSpec
    created_at: datetime
    found_sha256: str | None = None
    port: int | None = None
    starts: int = 0
    has_finished: bool = False
    exit: Exit | None = None
    replacing: KeptReplacement | None = None

    @property
    def key(self) -> Key:
        return KIND, self.spec.slug

    @property
    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"v": _VERSION, **_converter.unstructure(self)}


def parse_record(key: Key, value: Mapping[str, object]) -> KeptProcess:
    """Read a document, or raise `StartError` when this agent cannot.

    A field that an older agent did not write has its default.  One that is not known here means
    something that this agent would not do, so it is refused, as is a newer version.
    """
    where = "/".join(key)
    if (found := value.get("v")) != _VERSION:
        raise StartError(
            f"expected a document of version {_VERSION}, found {found!r} @ {where}: start the "
            "agent that has written it, or restore a backup of the state"
        )
    try:
        return _converter.structure({k: v for k, v in value.items() if k != "v"}, KeptProcess)
    except BaseValidationError as exc:
        raise StartError(
            f"expected the document of a process, found {'; '.join(transform_error(exc))}, in "
            f"{where}: start the agent that has written it, or restore a backup of the state"
        ) from exc


@attrs.define(eq=False)
class ProcessRecord:
    """The document of one process, which it alone writes.

    store: None if nothing is to outlive the agent.
    kept: what the document says; None while there is none.
    """

    _store: StateStore | None
    kept: KeptProcess | None = None
    _revision: int = 0
    _is_removed: bool = False
    _turn: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def is_lasting(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    async def write(self, wanted: KeptProcess) -> None:
        """Return when it is kept; nothing happens if it is already, or was removed.

        Raises `StateFullError` when there is no room, and `StateFailedError`.

        If cancelled: waits for the answer of the disk all the same, 10 s at most.
        """
        await self._set(lambda _: wanted)

    async def change(self, change: Callable[[KeptProcess], KeptProcess]) -> None:
        """As `write`, of what comes out of what is kept then; nothing happens if nothing is."""
        await self._set(lambda kept: None if kept is None else change(kept))

    async def remove(self) -> None:
        """Return when there is no document any more; as `write`."""
        await self._set(lambda _: None)

    async def _set(self, change: Callable[[KeptProcess | None], KeptProcess | None]) -> None:
        if self._store is None or change(self.kept) == self.kept:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(WRITE_TIMEOUT, shield=True):
            async with self._turn:
                await self._write(self._store, change(self.kept))
                return
        raise StateFailedError("the disk of the state does not answer")

    async def _write(self, store: StateStore, wanted: KeptProcess | None) -> None:
        """Keep it; in turn."""
        kept = self.kept
        if self._is_removed or wanted == kept:
            return
        one = wanted or kept
        assert one is not None  # noqa: S101  # They differ.
        document = None if wanted is None else wanted.document
        self._revision = await store.compare_and_set(one.key, document, expected=self._revision)
        self._is_removed = wanted is None
        self.kept = wanted

    def adopt(self, kept: KeptProcess, revision: int) -> None:
        """Begin with the document of an earlier life of the agent."""
        self.kept, self._revision = kept, revision


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    converter.register_unstructure_hook(signal.Signals, lambda number: number.name)
    converter.register_structure_hook(signal.Signals, lambda name, _: signal.Signals[name])
    converter.register_structure_hook(PortWish, lambda wish, _: wish)
    return converter


_converter = _make_converter()

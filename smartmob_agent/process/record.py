"""What of a process outlives the agent: one document of the store of state."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
import trio
from cattrs import BaseValidationError, Converter, transform_error

from smartmob_agent.child.seam import Exit
from smartmob_agent.errors import StartError
from smartmob_agent.process.policies import PortWish
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.state.seam import Key, StateFailedError, StateStore

__all__ = ["KIND", "KeptProcess", "ProcessRecord", "parse_record"]

KIND = "process"
"""Of the documents of processes."""

_VERSION = 1

_WRITE_TIMEOUT = 10.0
"""Seconds to wait for a disk that hangs; a write takes some milliseconds."""


@attrs.frozen(kw_only=True)
class KeptProcess:
    """What is kept of a process.

    found_sha256: digest of the archive that it had; None before it had one.
    port: that it had last.
    starts: how many children it has had, about: see `ManagedProcess`.
    exit: how the last child ended, if the process has finished.
    """

    spec: ProcessSpec
    created_at: datetime
    found_sha256: str | None = None
    port: int | None = None
    starts: int = 0
    has_finished: bool = False
    exit: Exit | None = None

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
        if self._store is None or wanted == self.kept:
            await trio.lowlevel.checkpoint()
            return
        await self._set(wanted.key, wanted)

    async def reopen(self) -> None:
        """Keep that what has finished is wanted again; as `write`."""
        if self.kept is None or not self.kept.has_finished:
            await trio.lowlevel.checkpoint()
            return
        await self._set(self.kept.key, attrs.evolve(self.kept, has_finished=False, exit=None))

    async def remove(self) -> None:
        """Return when there is no document any more; as `write`."""
        if self._store is None or self.kept is None:
            await trio.lowlevel.checkpoint()
            return
        await self._set(self.kept.key, None)

    async def _set(self, key: Key, wanted: KeptProcess | None) -> None:
        assert self._store is not None  # noqa: S101  # Its callers have looked.
        document = None if wanted is None else wanted.document
        with trio.move_on_after(_WRITE_TIMEOUT, shield=True):
            async with self._turn:
                if self._is_removed:
                    return
                self._revision = await self._store.compare_and_set(
                    key, document, expected=self._revision
                )
                self._is_removed = wanted is None
                self.kept = wanted
                return
        raise StateFailedError("the disk of the state does not answer")

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

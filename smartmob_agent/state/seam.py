"""The interface of the store of what lasts.

A document is a JSON object under a key, ``("process", "hello.web.0")``.  Each change gives the
store its next revision, and the document has that revision until it changes again.  A writer names
the revision that it has seen, so nobody overwrites what they have not read.  Stores that are shared
by many agents, such as etcd, promise no less.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import attrs

from smartmob_agent.errors import AgentError, RequestError

__all__ = [
    "CompactedError",
    "Key",
    "StateChange",
    "StateConflictError",
    "StateFailedError",
    "StateFullError",
    "StateSnapshot",
    "StateStore",
    "StoredDocument",
    "Value",
]

Key: TypeAlias = tuple[str, str]
"""Kind and name; `check_key` says what they may be."""

Value: TypeAlias = Mapping[str, object]
"""A JSON object, as `json.loads` would return it."""


@attrs.frozen(kw_only=True)
class StoredDocument:
    """A document as it was read.

    created: the revision that created it; one that was deleted and created again has a new one.
    revision: of its last change.
    """

    key: Key
    value: Value
    created: int
    revision: int


@attrs.frozen(kw_only=True)
class StateSnapshot:
    """All documents at one revision, in the order of their creation."""

    revision: int
    documents: tuple[StoredDocument, ...]


@attrs.frozen(kw_only=True)
class StateChange:
    """One change.

    value: None for a deletion.
    """

    key: Key
    value: Value | None
    revision: int


class StateConflictError(AgentError):
    """The document is not at the expected revision; nothing was changed.

    found: the document, None if there is none.
    """

    def __init__(self, key: Key, *, expected: int, found: StoredDocument | None) -> None:
        at = f"revision {found.revision}" if found is not None else "none"
        wanted = f"revision {expected}" if expected else "none"
        super().__init__(f"expected {wanted} of the document {'/'.join(key)}, found {at}")
        self.key = key
        self.expected = expected
        self.found = found


class CompactedError(AgentError):
    """Changes that a watcher asked for are forgotten: read everything again, and watch from there.

    compacted: changes up to this revision are forgotten.
    """

    def __init__(self, *, after: int, compacted: int) -> None:
        super().__init__(
            f"changes after revision {after} were asked for, those up to {compacted} are forgotten"
        )
        self.after = after
        self.compacted = compacted


class StateFullError(RequestError):
    """There is no room for a change; nothing was changed (RFC 4918, section 11.5)."""

    status = 507


class StateFailedError(RequestError):
    """The store cannot be used any more.

    A write that gets this error is kept or not; the next start of the agent shows which.
    """

    status = 500


class StateStore(Protocol):
    """Documents, read as a whole and changed one at a time."""

    async def read_all(self) -> StateSnapshot:
        """Return all documents.

        All changes whose writers returned, or were cancelled, before this call are in it or never
        will be.

        Raises `StateFailedError`.
        """
        ...

    async def compare_and_set(self, key: Key, value: Value | None, *, expected: int) -> int:
        """Change a document and return its new revision, when the change is kept.

        value: None deletes the document.
        expected: the revision that the document must have; 0, that there is none.

        Raises `StateConflictError`, `StateFullError`, `StateFailedError`; `ValueError` when the
        key or the value can never be stored, and `BodyTooLargeError` for too long a value.

        If cancelled: the change is kept as a whole or not at all; the next `read_all` tells which.
        """
        ...

    def watch(self, *, after: int) -> AbstractAsyncContextManager[AsyncIterator[StateChange]]:
        """Iterate over all changes with a revision above `after`, in order, and wait for more.

        The iteration ends when the store is closed.  It holds nothing back from writers: a watcher
        that is too slow gets `CompactedError`, as does one that asks for forgotten changes.

        Raises `ValueError` when the store has not reached the revision `after`.

        If cancelled: no change is lost, the next step of the iteration returns it.
        """
        ...

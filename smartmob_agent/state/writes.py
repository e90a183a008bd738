"""A wanted change, compared with what there is."""

from __future__ import annotations

from smartmob_agent.state.history import Change, Row
from smartmob_agent.state.seam import Key, StateConflictError, Value
from smartmob_agent.state.values import check_key, encode

__all__ = ["PendingWrite"]


class PendingWrite:
    """A change that is wanted: key, text of the value or None, and the expected revision.

    Raises `ValueError` or `BodyTooLargeError` when it can never be made.
    """

    def __init__(self, key: Key, value: Value | None, *, expected: int) -> None:
        check_key(key)
        if value is None and not expected:
            raise ValueError(f"expected the revision of a document to delete, {'/'.join(key)}")
        self.key = key
        self.text = None if value is None else encode(value)
        self.expected = expected

    def made(self, found: Row | None, *, revision: int) -> Change:
        """Return the change as the store's `revision`.

        found: the document as it is; None if there is none.

        Raises `StateConflictError`.
        """
        if (found.revision if found is not None else 0) != self.expected:
            document = None if found is None else found.document()
            raise StateConflictError(self.key, expected=self.expected, found=document)
        if self.text is None:
            return Change(key=self.key, row=None, revision=revision)
        created = revision if found is None else found.created
        row = Row(key=self.key, text=self.text, created=created, revision=revision)
        return Change(key=self.key, row=row, revision=revision)

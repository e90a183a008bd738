"""Names that some file systems take for one: they differ in case or composition only."""

from __future__ import annotations

import unicodedata

import attrs

from smartmob_agent.source.members import refusal

__all__ = ["Names"]


@attrs.define(eq=False)
class Names:
    """The paths that an archive has used.

    Hashes stand for them: a hundred thousand long paths are too much to keep.  That two of
    those have the same one by chance is less likely than one in a thousand million.
    """

    _seen: dict[int, int] = attrs.field(factory=dict)

    def use(self, path: str) -> None:
        """Note a path; raises `UnpackError` if another one differs from it in case only."""
        folded = _fold(path)
        key = hash(folded)
        own = key if folded == path else hash(path)  # the same object takes no more memory
        if self._seen.setdefault(key, own) != own:
            raise refusal(path, "it differs from an earlier member's name only in case")


def _fold(path: str) -> str:
    """The same for all spellings of a name (Unicode 15, definition D145)."""
    if path.isascii():
        return path.lower()
    decomposed = unicodedata.normalize("NFD", path)
    return unicodedata.normalize("NFD", decomposed.casefold())

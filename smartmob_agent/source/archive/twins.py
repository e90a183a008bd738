"""Names that some file systems take for one: they differ in case or composition only."""

from __future__ import annotations

import contextlib
import os
import unicodedata

import attrs

from smartmob_agent.source.archive.members import refusal

__all__ = ["CaseCollisions", "folds_names"]

_PROBE, _OTHER_CASE, _OTHER_COMPOSITION = "\u00e9a", "\u00e9A", "e\u0301a"
"""One name in two cases and in two compositions: "é" is one character or two."""


def folds_names(root_fd: int) -> bool:
    """Try whether the file system takes two spellings for one name (ext4 "casefold", VFAT, APFS).

    root_fd: an empty directory, which is empty again afterwards.  The answer may differ between
        directories of one disk (chattr(1), attribute F), so each is asked.
    """
    try:
        os.close(os.open(_PROBE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=root_fd))
    except OSError:  # It takes no such name, or no file: what is unpacked will tell.
        return True
    found = False
    for spelling in (_OTHER_CASE, _OTHER_COMPOSITION):
        with contextlib.suppress(OSError):
            os.stat(spelling, dir_fd=root_fd, follow_symlinks=False)
            found = True
    os.unlink(_PROBE, dir_fd=root_fd)
    return found


@attrs.define(eq=False)
class CaseCollisions:
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

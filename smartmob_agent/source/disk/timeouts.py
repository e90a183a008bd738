"""How long removals may take, in seconds: each of them is shielded from cancellation."""

from __future__ import annotations

__all__ = ["MAKE_ROOM_TIMEOUT", "REMOVE_FILE_TIMEOUT", "REMOVE_OWN_TIMEOUT", "REMOVE_TREE_TIMEOUT"]

REMOVE_FILE_TIMEOUT = 10.0
"""One unfinished archive: a moment, unless the disk hangs."""

MAKE_ROOM_TIMEOUT = 10.0
"""All archives that the cache can do without; after the next error the removal goes on."""

REMOVE_OWN_TIMEOUT = 10.0
"""The directory of an agent that stops; the next start removes the rest."""

REMOVE_TREE_TIMEOUT = 60.0
"""The files of one process: 100,000 of them take a few seconds, and more on a busy disk."""

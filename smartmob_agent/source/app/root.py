"""The root of an app in an unpacked archive."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

from smartmob_agent.errors import InvalidProcfileError

__all__ = ["locate", "read_within"]

PROCFILE = "Procfile"

# Added by the Finder of macOS to its archives.
IGNORED = frozenset({"__MACOSX"})


def locate(app: Path, limit_bytes: int) -> tuple[Path, bytes | None]:
    """Find the root of the app below `app`, and read its Procfile.

    The root is the directory with a Procfile: the archive's top, or else its only directory.
    Without a Procfile, the root is the top, and the bytes are None.

    Raises `InvalidProcfileError` for a Procfile over the limit, and `OSError`.
    """
    with os.scandir(app) as entries:
        found = (
            Path(entry)
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and entry.name not in IGNORED
        )
        directories = list(itertools.islice(found, 2))  # there may be a hundred thousand
    for root in (app, *(directories if len(directories) == 1 else ())):
        procfile = read_within(app, root / PROCFILE, limit_bytes + 1)
        if procfile is not None:
            _check_length(procfile, limit_bytes)
            return root, procfile
    return app, None


def read_within(app: Path, path: Path, max_bytes: int) -> bytes | None:
    """Read the start of a file, which may be a link to one inside; None if there is no such file.

    Raises `OSError`.
    """
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        return None
    inside = target.is_relative_to(app.resolve())
    if not (inside and stat.S_ISREG(target.stat().st_mode)):
        return None
    with target.open("rb") as file:
        return file.read(max_bytes)


def _check_length(data: bytes, limit_bytes: int) -> None:
    if len(data) > limit_bytes:
        line = data.count(b"\n", 0, limit_bytes) + 1
        raise InvalidProcfileError(
            f"expected a file of at most {limit_bytes} bytes, found a longer one", line=line
        )

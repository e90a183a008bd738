"""The root of an app in an unpacked archive."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

from smartmob_agent.errors import InvalidProcfileError, NoProcfileError

__all__ = ["locate", "read_within"]

PROCFILE = "Procfile"

# Added by the Finder of macOS to its archives.
IGNORED = frozenset({"__MACOSX"})


def locate(app: Path, limit_bytes: int, wanted: str | None = None) -> tuple[Path, bytes | None]:
    """Find the root of the app below `app`, and read its Procfile.

    The root is the directory with a Procfile: the archive's top, or else its only directory.
    Without a Procfile, the root is the top, or its only directory if nothing else is there;
    the bytes are None.

    wanted: what the root is, seen from the top or from the only directory.

    Raises `InvalidProcfileError` for a Procfile over the limit, `NoProcfileError` when there is no
    directory of the name that is wanted, and `OSError`.
    """
    with os.scandir(app) as entries:
        found = (entry for entry in entries if entry.name not in IGNORED)
        kept = list(itertools.islice(found, 2))  # there may be a hundred thousand
    with os.scandir(app) as entries:
        found_directories = (
            Path(entry)
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and entry.name not in IGNORED
        )
        directories = list(itertools.islice(found_directories, 2))
    roots = [app, *(directories if len(directories) == 1 else ())]
    if wanted is not None:
        roots = [root / wanted for root in roots if _is_directory(app, root / wanted)]
        if not roots:
            raise NoProcfileError(f"expected a directory {wanted!a} in the archive, found none")
    for root in roots:
        procfile = read_within(app, root / PROCFILE, limit_bytes + 1)
        if procfile is not None:
            _check_length(procfile, limit_bytes)
            return root, procfile
    return roots[-1] if len(kept) == 1 or wanted is not None else app, None


def _is_directory(app: Path, path: Path) -> bool:
    """Whether it is a directory inside the app, perhaps by way of links."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_dir() and target.is_relative_to(app.resolve())


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

"""The root of an app in an unpacked archive."""

from __future__ import annotations

import enum
import itertools
import os
import stat
from collections import deque
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from smartmob_agent.errors import InvalidProcfileError

__all__ = ["describe", "locate", "resolve_inside"]

PROCFILE = "Procfile"

# Added by the Finder of macOS to its archives.
IGNORED = frozenset({"__MACOSX"})

# As many as Linux follows (path_resolution(7)).
LINKS = 40

# What is looked at to say what there is, where there is no Procfile.
ENTRIES, LEVELS, SHOWN_NAMES = 10_000, 3, 5

SIGNS = (
    (("*.dist-info/WHEEL",), "a Python wheel"),
    (("metadata.gz", "data.tar.gz"), "a Ruby gem"),
    (("META-INF/MANIFEST.MF",), "a Java archive"),
    (("oci-layout",), "a container image"),
    (("manifest.json", "*/layer.tar"), "a container image"),
)
"""Files by which an archive that is no app is known; all of them are there."""


def locate(app: Path, limit_bytes: int) -> tuple[Path, bytes | None]:
    """Find the root of the app below `app`, and read its Procfile.

    The root is the directory with a Procfile: the archive's top, or else its only directory.
    Without a Procfile, the root is the top, and the bytes are None.

    Raises `InvalidProcfileError` for a Procfile over the limit, and `OSError`.
    """
    for root in (app, *_only_directory(app)):
        procfile = _read(app, root / PROCFILE, limit_bytes)
        if procfile is not None:
            return root, procfile
    return app, None


def resolve_inside(app: Path, path: Path) -> Path | None:
    """Follow the links of a path below `app`; None if they lead outside, to nothing or in a circle.

    A link with an absolute target leads outside.  Nothing outside is looked at: it may hang.
    """
    found = PurePosixPath()
    left = deque(path.relative_to(app).parts)
    links = 0
    while left:
        part = left.popleft()
        if part == "..":
            if found == PurePosixPath():
                return None
            found = found.parent
            continue
        try:
            mode = (app / found / part).lstat().st_mode
        except OSError:
            return None
        if not stat.S_ISLNK(mode):
            found /= part
            continue
        links += 1
        target = PurePosixPath((app / found / part).readlink())
        if target.is_absolute() or links > LINKS:
            return None
        left.extendleft(reversed(target.parts))
    return app / found


def describe(app: Path) -> str:
    """Say what there is in an archive that has no Procfile where one should be."""
    found = dict(itertools.islice(_walk(app), ENTRIES))
    if not found:
        return "an empty archive"
    roots = ("", *(f"{root.name}/" for root in _only_directory(app)))
    for root, (signs, what) in itertools.product(roots, SIGNS):
        if all(any(fnmatchcase(name, root + sign) for name in found) for sign in signs):
            return what
    for root in roots:
        if found.get(f"{root}{PROCFILE}") is _Kind.LINK:
            return f"{root}{PROCFILE} as a link that leads to no file of the archive"
    likely = [name for name in found if name.rpartition("/")[2].lower().startswith("procfile")]
    names = sorted(likely or (name for name in found if "/" not in name))
    shown = [f"{name}/" if found[name] is _Kind.DIRECTORY else name for name in names]
    more = ", …" if len(shown) > SHOWN_NAMES else ""
    return ", ".join(map(repr, shown[:SHOWN_NAMES])) + more


class _Kind(enum.Enum):
    DIRECTORY, LINK, OTHER = "directory", "link", "other"


def _only_directory(app: Path) -> list[Path]:
    """The directory of an archive that has one only; else none."""
    with os.scandir(app) as entries:
        found = (
            Path(entry)
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and entry.name not in IGNORED
        )
        directories = list(itertools.islice(found, 2))  # there may be a hundred thousand
    return directories if len(directories) == 1 else []


def _walk(app: Path) -> Iterator[tuple[str, _Kind]]:
    """The paths of the upper levels, relative to `app`; those above come first."""
    left = deque([""])
    while left:
        above = left.popleft()
        with os.scandir(app / above) as entries:
            for entry in entries:
                if entry.name in IGNORED:
                    continue
                path = above + entry.name
                if entry.is_dir(follow_symlinks=False):
                    yield path, _Kind.DIRECTORY
                    if path.count("/") + 1 < LEVELS:
                        left.append(f"{path}/")
                else:
                    yield path, _Kind.LINK if entry.is_symlink() else _Kind.OTHER


def _read(app: Path, path: Path, limit_bytes: int) -> bytes | None:
    """Read a Procfile, which may be a link to a file inside; None if there is no such file."""
    target = resolve_inside(app, path)
    if target is None or not stat.S_ISREG(target.lstat().st_mode):
        return None
    with target.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        line = data.count(b"\n", 0, limit_bytes) + 1
        raise InvalidProcfileError(
            f"expected a file of at most {limit_bytes} bytes, found a longer one", line=line
        )
    return data

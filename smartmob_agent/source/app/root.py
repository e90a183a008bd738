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

from smartmob_agent.errors import InvalidProcfileError, NoProcfileError

__all__ = ["describe", "locate", "read_within", "resolve_inside"]

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


def locate(app: Path, limit_bytes: int, wanted: str | None = None) -> tuple[Path, bytes | None]:
    """Find the root of the app below `app`, and read its Procfile.

    The root is the directory with a Procfile: the archive's top, or else its only directory.
    Without a Procfile, the root is the top, or its only directory if nothing else is there;
    the bytes are None.

    wanted: what the root is, seen from the top or from the only directory.

    Raises `InvalidProcfileError` for a Procfile over the limit, `NoProcfileError` when there is no
    directory of the name that is wanted, and `OSError`.
    """
    roots = [app, *_only_directory(app)]
    if wanted is not None:
        roots = [root / wanted for root in roots if _is_directory(app, root / wanted)]
        if not roots:
            raise NoProcfileError(f"expected a directory {wanted!a} in the archive, found none")
    for root in roots:
        procfile = read_within(app, root / PROCFILE, limit_bytes + 1)
        if procfile is not None:
            _check_length(procfile, limit_bytes)
            return root, procfile
    return roots[-1] if wanted is not None or _has_one_entry(app) else app, None


def _is_directory(app: Path, path: Path) -> bool:
    """Whether it is a directory inside the app, perhaps by way of links."""
    target = resolve_inside(app, path)
    return target is not None and target.is_dir()


def read_within(app: Path, path: Path, max_bytes: int) -> bytes | None:
    """Read the start of a file, which may be a link to one inside; None if there is no such file.

    Raises `OSError`.
    """
    target = resolve_inside(app, path)
    if target is None or not stat.S_ISREG(target.lstat().st_mode):
        return None
    with target.open("rb") as file:
        return file.read(max_bytes)


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


def _has_one_entry(app: Path) -> bool:
    with os.scandir(app) as entries:
        kept = (entry for entry in entries if entry.name not in IGNORED)
        return len(list(itertools.islice(kept, 2))) == 1


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


def _check_length(data: bytes, limit_bytes: int) -> None:
    if len(data) > limit_bytes:
        line = data.count(b"\n", 0, limit_bytes) + 1
        raise InvalidProcfileError(
            f"expected a file of at most {limit_bytes} bytes, found a longer one", line=line
        )

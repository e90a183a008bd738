"""Members of archives: their kinds, and the names that they may have.  Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator

import attrs

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import DownloadError, UnpackError

__all__ = [
    "Content",
    "Hole",
    "Member",
    "MemberKind",
    "decode_name",
    "excess",
    "inner_path",
    "inner_target",
    "refusal",
]

SHOWN_CHARACTERS = 100

# C0 and C1 controls, and the newlines of Unicode.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# Of one name; no file system of Linux allows more (limits.h, NAME_MAX).
NAME_BYTES = 255


class MemberKind(enum.Enum):
    """The kinds of members that an app may have."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    HARDLINK = "hard link"


@attrs.frozen(kw_only=True)
class Member:
    """One entry of an archive, not checked yet.

    mode: permission bits, None where the archive has none.
    size: bytes of a file, its holes included; of a hard link, if its content comes with it.
    target: of a link.
    """

    name: str
    kind: MemberKind
    mode: int | None
    size: int = 0
    target: str = ""


@attrs.frozen
class Hole:
    """So many zeros of a sparse file, which take no place in the archive."""

    size: int


Content = Iterator[bytes | Hole]
"""The content of a file, in pieces."""


def refusal(name: str, why: str) -> UnpackError:
    """The error for a member that is not unpacked."""
    return UnpackError(f"{_shown(name)} in the archive: {why}")


def excess(name: str, expected: str) -> DownloadError:
    """The error for a member over a limit, with what was expected."""
    return DownloadError(f"{_shown(name)} in the archive: expected {expected}")


def _shown(name: str) -> str:
    return repr(name if len(name) <= SHOWN_CHARACTERS else name[:SHOWN_CHARACTERS] + "…")


def decode_name(raw: bytes) -> str:
    """Decode a name; raises `UnpackError` unless it is UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        name = raw.decode("ascii", "backslashreplace")
        raise refusal(name, "expected a name in UTF-8") from exc


def inner_path(name: str, limits: SourceLimits) -> str:
    """The path of a member below the archive's top; empty for the top itself.

    Raises `UnpackError` for a name that leads outside or has control characters, and
    `DownloadError` for one that is too long or too deep.
    """
    if name.startswith("/"):
        raise refusal(name, "expected a relative path, found an absolute one")
    _check_characters(name, name)
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise refusal(name, "expected a path without '..'")
    _check_size(name, parts, limits)
    return "/".join(parts)


def inner_target(path: str, target: str, limits: SourceLimits) -> str:
    """The target for a symbolic link at `path`, an `inner_path`, that has the meaning of `target`.

    In the result all `..` come before the names.  So each name is looked up in a directory inside,
    whatever other links it passes through: if all links are made so, none leads outside.

    An absolute target stays as it is.  It is for the app alone: a virtual environment has one to
    its interpreter.  Nothing of the agent may follow it.

    Raises `UnpackError` when the target is empty or a relative one outside.
    """
    if not target:
        raise refusal(path, "expected a link with a target, found none")
    _check_characters(target, path)
    if target.startswith("/"):
        parts = [part for part in target.split("/") if part not in {"", "."}]
        _check_size(path, parts, limits)
        return "/" + "/".join(parts)
    ups, names = 0, list[str]()
    for part in target.split("/"):
        if part == ".." and names:
            names.pop()
        elif part == "..":
            ups += 1
        elif part not in {"", "."}:
            names.append(part)
    if ups > path.count("/"):
        raise refusal(path, "expected a link that stays inside the archive")
    _check_size(path, names, limits)
    return "/".join([".."] * ups + names) or "."


def _check_characters(text: str, name: str) -> None:
    if CONTROL.search(text):
        raise refusal(name, "expected a name without control characters")


def _check_size(name: str, parts: list[str], limits: SourceLimits) -> None:
    sizes = [len(part.encode()) for part in parts]
    if sum(sizes) + len(sizes) > limits.path_bytes or max(sizes, default=0) > NAME_BYTES:
        raise excess(name, f"paths of at most {limits.path_bytes} bytes and names of {NAME_BYTES}")
    if len(parts) > limits.path_depth:
        raise excess(name, f"at most {limits.path_depth} levels")

"""Lets a program write in some directories alone, by Landlock, and becomes that program.

    confine DIR... -- PROGRAM ARGUMENT...

Landlock (landlock(7), Linux 5.13) is the kernel's own, needs no privilege, and holds for all that
the program starts.  Where the kernel has none, or only its first version, which forbids to rename
from one directory to another, the program runs as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Sequence

__all__ = ["main", "restrict_writes"]

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Numbers of system calls, the same on all architectures."""

VERSION_FLAG = 1
PATH_BENEATH = 1
NO_NEW_PRIVS = 38
"""For prctl(2)."""

WRITE_FILE = 1 << 1
TRUNCATE = 1 << 14
CHANGES = sum(1 << bit for bit in (1, *range(4, 14)))
"""All rights to write, remove, make and move; `TRUNCATE` came later."""

ALWAYS = ("/dev", "/proc")
"""What is there is no file, but for shared memory in the first."""


def restrict_writes(directories: Sequence[str]) -> bool:
    """Let this process and all that it starts write below `directories` alone.

    False if the kernel cannot do that.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, 0, VERSION_FLAG)
    if version < 2:
        return False
    rights = CHANGES | (TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=Q", rights)
    ruleset = libc.syscall(CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        for directory in (*directories, *ALWAYS):
            with contextlib.suppress(FileNotFoundError):
                _allow(libc, ruleset, directory, rights)
        libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, directory: str, rights: int) -> None:
    fd = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, fd)
        if libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), directory)
    finally:
        os.close(fd)


def main(arguments: Sequence[str]) -> None:
    """Become the program; exit as a shell does when there is none."""
    position = arguments.index("--")
    directories, argv = arguments[:position], arguments[position + 1 :]
    restrict_writes(directories)
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606  # It is the operator's program.
    except OSError as exc:
        print(f"cannot run {argv[0]}: {exc.strerror}", file=sys.__stderr__)
        sys.exit(127 if isinstance(exc, FileNotFoundError) else 126)


if __name__ == "__main__":  # pragma: no cover  -- in a program of its own
    main(sys.argv[1:])

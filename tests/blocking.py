"""Finds calls in the event loop that may block: of files, names, locks and programs.

A file of a disk or a network share that hangs blocks its caller for as long as it hangs, and no
signal ends that.  In a thread this costs the thread; in the event loop every process and client.
"""

from __future__ import annotations

import _posixsubprocess
import _socket
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import attrs

import smartmob_agent

__all__ = ["BLOCKING", "BlockingCall", "watch_blocking_calls"]

PACKAGE = str(Path(smartmob_agent.__file__).parent)
TESTS = str(Path(__file__).parent)

_FILES = (
    *("access", "chdir", "chmod", "chown", "fdatasync", "fsync", "getxattr", "lchown", "link"),
    *("listdir", "listxattr", "lstat", "mkdir", "mkfifo", "mknod", "open", "pathconf"),
    *("posix_fallocate", "readlink", "remove", "rename", "replace", "rmdir", "scandir", "sendfile"),
    *("setxattr", "stat", "statvfs", "symlink", "sync", "truncate", "unlink", "utime"),
)
_PROGRAMS = ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system")
_NAMES = ("getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo")
_METHODS = frozenset({"load_cert_chain", "load_verify_locations", "set_default_verify_paths"})
"""Of an SSLContext: they read files."""

BLOCKING: frozenset[Callable[..., Any]] = frozenset(
    function
    for module, names in (
        (os, _FILES),
        (os, _PROGRAMS),
        (_socket, _NAMES),
        (_posixsubprocess, ("fork_exec",)),
        (fcntl, ("flock", "lockf")),
        (time, ("sleep",)),
    )
    for name in names
    if (function := getattr(module, name, None)) is not None
) | {open}


@attrs.frozen
class BlockingCall:
    """A call that may block, and who made it: the nearest function of ours."""

    function: str
    caller: str

    def __str__(self) -> str:
        return f"{self.function} by {self.caller}"


@contextmanager
def watch_blocking_calls() -> Iterator[list[BlockingCall]]:
    """Note what is called in this thread, which is to be that of the event loop.

    By the interpreter's profiler, which sees each call of a function in C and changes none.  Calls
    that no function of the package has made, such as those of tests, are left out, and so are
    imports: they come once.
    """
    found: list[BlockingCall] = []

    def note(frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call":
            return
        name = function.__name__
        if not (_is_blocking(function) or name in _METHODS):
            return
        if (caller := _caller(frame)) is not None:
            found.append(BlockingCall(name, caller))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)


def _is_blocking(function: Any) -> bool:
    try:
        return function in BLOCKING
    except TypeError:  # a method of something that has no hash
        return False


def _caller(frame: FrameType | None) -> str | None:
    """Return the nearest of our functions; None when an import or a test comes first."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(("<frozen importlib", TESTS)):
            return None
        if code.co_filename.startswith(PACKAGE):
            return f"{Path(code.co_filename).relative_to(PACKAGE)}:{code.co_qualname}"
        frame = frame.f_back
    return None

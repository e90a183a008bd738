"""What a command writes: data to stdout, plain and stable; messages to stderr."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

__all__ = [
    "FAILED",
    "PIPE_CLOSED",
    "OutputError",
    "clean",
    "give_up",
    "is_terminal",
    "note",
    "notes_are_of",
    "open_closed",
    "say",
    "say_behind_ctrl_c",
    "write_bytes",
    "write_json",
    "write_rows",
    "write_text",
]

FAILED = 1
PIPE_CLOSED = 141
"""Whoever read the output has gone: 128 and the number of SIGPIPE, as shells have it."""


_agent = ContextVar("agent", default="")


class OutputError(Exception):
    """What there is to write cannot be written."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"{cause}")
        self.cause = cause


def open_closed() -> None:
    """Give the program a stdin, stdout and stderr where it was started without (`>&-`).

    Else the next file or socket would get the number, and what is written.  stdout refuses all.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # Gets the lowest number that is free: this one.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 -- as Python does
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def give_up(exc: OSError) -> int:
    """Say why stdout takes no more, and return the exit code; nothing is written from now on."""
    # Python would try to flush once more at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if exc.errno == errno.EPIPE:
        return PIPE_CLOSED
    note(f"cannot write: {exc.strerror}")
    return FAILED


def clean(value: object) -> str:
    """Return a value as one cell: `-` for nothing, no control characters, JSON for objects."""
    if value is None or value == "":
        return "-"
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "".join(char if char.isprintable() else " " for char in str(value))


def write_rows(rows: Iterable[Sequence[object]]) -> None:
    """Write lines with tabs between the cells."""
    write_bytes("".join("\t".join(map(clean, row)) + "\n" for row in rows).encode())


def write_json(document: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Write a document; without indent on one line."""
    write_bytes(json.dumps(document, indent=indent).encode() + b"\n")


def write_bytes(data: bytes) -> None:
    """Write to stdout at once.  A reader that does not read stops the command: so it should.

    Raises `OutputError`.
    """
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as exc:
        raise OutputError(exc) from exc


def write_text(text: str) -> None:
    """Write to stdout what a human reads, as far as the terminal has the characters."""
    write_bytes(text.encode(sys.stdout.encoding, "replace"))


def note(text: str) -> None:
    """Say something that is not part of the output; if nobody can hear it, so be it."""
    agent = _agent.get()
    say(f"smartmob: {agent}: {text}\n" if agent else f"smartmob: {text}\n")


def notes_are_of(agent: str) -> None:
    """Name an agent, if not empty, in the notes of this task, and of those that it will start."""
    _agent.set(agent)


def say(text: str) -> None:
    """Write to stderr, if that takes it."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def say_behind_ctrl_c(text: str) -> None:
    """Say what CTRL-C did, and did not, behind the `^C` that a terminal shows."""
    if sys.stderr.isatty():
        say("\n")
        note(text)


def is_terminal(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a human looks at stdout."""
    return sys.stdout.isatty() and environ.get("TERM") != "dumb"

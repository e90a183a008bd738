"""What a command writes: data to stdout, plain and stable; messages to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "clean",
    "is_terminal",
    "note",
    "say_behind_ctrl_c",
    "write_bytes",
    "write_json",
    "write_rows",
]


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
    """Write to stdout at once.  A reader that does not read stops the command: so it should."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def note(text: str) -> None:
    """Say something that is not part of the output."""
    sys.stderr.write(f"smartmob: {text}\n")
    sys.stderr.flush()


def say_behind_ctrl_c(text: str) -> None:
    """Say what CTRL-C did, and did not, behind the `^C` that a terminal shows."""
    if sys.stderr.isatty():
        sys.stderr.write("\n")
        note(text)


def is_terminal(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a human looks at stdout."""
    return sys.stdout.isatty() and environ.get("TERM") != "dumb"

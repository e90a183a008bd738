"""The output of a command: data to stdout, plain and stable; messages to stderr."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from smartmob_agent.client_cli.failure import FAILED, PIPE_CLOSED

__all__ = [
    "OutputError",
    "format_cell",
    "is_terminal",
    "open_std_streams",
    "report",
    "report_as",
    "report_ctrl_c",
    "stdout_failed",
    "write_bytes",
    "write_json",
    "write_rows",
    "write_stderr",
    "write_text",
]

_agent = ContextVar("agent", default="")


class OutputError(Exception):
    """stdout does not take the output."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"{cause}")
        self.cause = cause


def open_std_streams() -> None:
    """Open stdin, stdout and stderr if the program was started without them (`>&-`).

    Otherwise the next file or socket would get the descriptor, and the output.  Writing to such a
    stdout fails.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # Gets the lowest number that is free: this one.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 -- as Python does
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def stdout_failed(exc: OSError) -> int:
    """Report that stdout failed and return the exit code; later output is discarded."""
    # Python would try to flush once more at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if exc.errno == errno.EPIPE:
        return PIPE_CLOSED
    report(f"cannot write: {exc.strerror}")
    return FAILED


def format_cell(value: object) -> str:
    """Return a value as one cell: `-` for nothing, no control characters, JSON for objects."""
    if value is None or value == "":
        return "-"
    if isinstance(value, dict | list):
        import json

        return json.dumps(value)
    return "".join(char if char.isprintable() else " " for char in str(value))


def write_rows(rows: Iterable[Sequence[object]]) -> None:
    """Write one line a row, with tabs between the cells."""
    write_bytes("".join("\t".join(map(format_cell, row)) + "\n" for row in rows).encode())


def write_json(document: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Write a document; on one line if `indent` is None."""
    import json

    write_bytes(json.dumps(document, indent=indent).encode() + b"\n")


def write_bytes(data: bytes) -> None:
    """Write to stdout at once; a slow reader blocks the command, as in any pipe.

    Raises `OutputError`.
    """
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as exc:
        raise OutputError(exc) from exc


def write_text(text: str) -> None:
    """Write text for a terminal; `?` replaces characters that its encoding lacks."""
    write_bytes(text.encode(sys.stdout.encoding, "replace"))


def report(text: str) -> None:
    """Write a message to stderr, with the name of the program, and of the agent if set.

    A message is one line without control sequences, whatever of others is quoted in it.
    """
    from smartmob_agent.client_cli.control_sequences import without_controls

    agent, text = _agent.get(), without_controls(text)
    write_stderr(f"smartmob: {agent}: {text}\n" if agent else f"smartmob: {text}\n")


def report_as(agent: str) -> None:
    """Name an agent in the reports of this task and of the tasks that it starts; empty: none."""
    _agent.set(agent)


def write_stderr(text: str) -> None:
    """Write to stderr; errors are ignored, as there is nowhere to report them."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def report_ctrl_c(text: str) -> None:
    """Report the effect of CTRL-C, below the `^C` that a terminal shows; elsewhere say nothing."""
    if sys.stderr.isatty():
        write_stderr("\n")
        report(text)


def is_terminal(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether stdout is a terminal, which gets tables and colours."""
    return sys.stdout.isatty() and environ.get("TERM") != "dumb"

"""Procfiles: bytes → process types, by smartmob RFC 1.  Pure.

A file is UTF-8 without byte order mark; `\\n` and `\\r\\n` end a line.  A backslash as the
last character joins the next line and becomes one space.  Leading white space, blank lines
and lines that start with `#` are ignored; as in a shell, a backslash at the end of such a line
joins nothing.  Every other line is `TYPE: COMMAND`; blanks may stand before the colon, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import attrs

from smartmob_agent.errors import InvalidProcfileError
from smartmob_agent.source.app.assignments import AssignmentError, split_assignments

__all__ = ["ProcessType", "parse_procfile"]

WHITE = " \t\v\f"

# As in the slugs of processes; similar tools allow fewer characters, none allows more.
TYPE = re.compile(r"([A-Za-z0-9._-]+)[ \t]*:(.*)", re.DOTALL)

# The mark of UTF-32 begins with one of UTF-16.  Without a mark: an ASCII letter.
WIDE_ENCODINGS = (
    (re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff"), "UTF-32"),
    (re.compile(rb"\xff\xfe|\xfe\xff|\0[\t\n\r -~]|[\t\n\r -~]\0[\t\n\r -~]\0"), "UTF-16"),
)

SHOWN_CHARACTERS = 40
"""Of an invalid line, so that the message stays one line."""


@attrs.frozen(kw_only=True)
class ProcessType:
    """One line of a Procfile.

    command: for `/bin/sh -c`, without the assignments that are in `env`.
    env: variable name → value.
    """

    name: str
    command: str
    env: Mapping[str, str]


def parse_procfile(data: bytes) -> Mapping[str, ProcessType]:
    """Read a Procfile: name → process type, in the order of the file.

    A file without process types is valid.

    Raises `InvalidProcfileError` with the `line` of the file, the first one of joined lines; the
    message quotes nothing after an equals sign.
    """
    types: dict[str, ProcessType] = {}
    first: dict[str, int] = {}
    for number, text in _logical_lines(_decode(data)):
        process_type = _parse_line(text, number)
        name = process_type.name
        if name in types:
            raise InvalidProcfileError(
                f"duplicate process type {name!r}, first on line {first[name]}", line=number
            )
        types[name] = process_type
        first[name] = number
    return types


def _decode(data: bytes) -> str:
    if (wide := _wide_encoding(data)) is not None:
        raise InvalidProcfileError(
            f"expected UTF-8, found {wide}: save the file as UTF-8 without a byte order mark",
            line=1,
        )
    if data.startswith(b"\xef\xbb\xbf"):
        raise InvalidProcfileError("expected UTF-8 without a byte order mark, found one", line=1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        found = f"the byte 0x{data[exc.start]:02x}"
        raise InvalidProcfileError(f"expected UTF-8, found {found}", line=line) from exc
    before, nul, _ = text.partition("\0")
    if nul:
        raise InvalidProcfileError("expected text, found a NUL", line=before.count("\n") + 1)
    return text


def _wide_encoding(data: bytes) -> str | None:
    """The name of an encoding with two or four bytes for each letter, by the mark or first letter.

    Windows PowerShell writes UTF-16 where nothing else is asked for.
    """
    return next((name for mark, name in WIDE_ENCODINGS if mark.match(data)), None)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line that matters, joined, without leading white space."""
    parts: list[str] = []
    start = 0
    # Not splitlines, which also splits at characters that are ordinary ones to a shell.
    for number, physical in enumerate([*text.split("\n"), ""], 1):
        line = physical.removesuffix("\r")
        if not parts:
            start = number
            if line.lstrip(WHITE).startswith("#"):
                continue
        if line.endswith("\\"):
            parts.append(line[:-1] + " ")
            continue
        logical = "".join([*parts, line]).lstrip(WHITE)
        parts.clear()
        if logical and not logical.startswith("#"):
            yield start, logical


def _parse_line(text: str, number: int) -> ProcessType:
    match = TYPE.fullmatch(text)
    if match is None:
        raise InvalidProcfileError(f"expected 'TYPE: COMMAND', found {_show(text)}", line=number)
    name, rest = match[1], match[2].lstrip(WHITE)
    stripped = rest.rstrip(WHITE)
    if not stripped.endswith("\\"):  # else the space after it is quoted
        rest = stripped
    try:
        env, command = split_assignments(rest)
    except AssignmentError as exc:
        raise InvalidProcfileError(str(exc), line=number) from exc
    if not command or command.startswith("#"):
        found = "a comment" if command else "only assignments" if env else "nothing"
        raise InvalidProcfileError(
            f"expected a command for process type {name!r}, found {found}", line=number
        )
    return ProcessType(name=name, command=command, env=env)


def _show(text: str) -> str:
    name, equals, _ = text.partition("=")
    if len(name) > SHOWN_CHARACTERS:
        return repr(name[:SHOWN_CHARACTERS] + "…")
    return repr(name + ("=…" if equals else ""))

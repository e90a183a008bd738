"""Environment variables for a process: from options and files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from smartmob_agent.client_cli.failure import WRONG_USE, CommandError

if TYPE_CHECKING:
    from dotenv.parser import Original

__all__ = ["read_variables"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLANK = re.compile(r"\s*")
_LINE_END = re.compile(r"\r\n|\n|\r")


def read_variables(
    given: Sequence[str], files: Sequence[str | PathLike[str]], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return variables; `given` beats the files, a later file beats an earlier one.

    given: `NAME=VALUE`, or `NAME` for the value that it has in `environ`.

    Raises `CommandError`.
    """
    variables: dict[str, str] = {}
    for file in files:
        variables.update(_read_file(file))
    for text in given:
        name, equals, value = text.partition("=")
        if not equals and name not in environ:
            raise _wrong(f"expected --env NAME=VALUE, or a variable that is set; found {name!r}")
        variables[name] = value if equals else environ[name]
    return variables


def _read_file(file: str | PathLike[str]) -> Iterator[tuple[str, str]]:
    """Read the variables of a file as python-dotenv does; `$` stands for itself."""
    # Loaded late: most commands have no file.
    from pathlib import Path

    from dotenv.parser import parse_stream

    path = Path(file)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise _wrong(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise _wrong(f"cannot read {path}: {exc}") from exc
    for binding in parse_stream(io.StringIO(text, newline="")):
        where = f"{path} line {_first_line(binding.original)}"
        if binding.error:
            raise _wrong(f"{where}: expected NAME=VALUE, with an end to each quote and no more")
        if binding.key is None:
            continue  # A comment, or nothing.
        if binding.value is None:
            raise _wrong(f"{where}: expected NAME=VALUE, found no '='")
        if not _NAME.fullmatch(binding.key):
            raise _wrong(f"{where}: expected a name of A-Z a-z 0-9 _, found {binding.key!r}")
        yield binding.key, binding.value


def _first_line(original: Original) -> int:
    """Return the number of the first line with text; blank lines before it come with it."""
    blank = _BLANK.match(original.string)
    assert blank is not None  # noqa: S101 -- it matches nothing, too
    return original.line + len(_LINE_END.findall(blank[0]))


def _wrong(message: str) -> CommandError:
    return CommandError(message, code=WRONG_USE)

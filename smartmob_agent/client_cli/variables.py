"""Environment variables for a process: from options and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike

from smartmob_agent.client_cli.failure import WRONG_USE, CommandError

__all__ = ["read_variables"]


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
    """Read lines of `NAME=VALUE`; blank lines and comments (`#`) are skipped."""
    from pathlib import Path

    path = Path(file)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise _wrong(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise _wrong(f"cannot read {path}: {exc}") from exc
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        if not equals:
            raise _wrong(f"{path} line {number}: expected NAME=VALUE, found no '='")
        yield name.strip(), _unquoted(value.strip())


def _unquoted(value: str) -> str:
    """Remove one pair of quotes around the whole value."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _wrong(message: str) -> CommandError:
    return CommandError(message, code=WRONG_USE)

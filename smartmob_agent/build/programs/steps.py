"""What the programs of builders have in common: steps that are told, and failures that end them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["BuildFailedError", "run", "run_program", "tell", "write_variable"]


class BuildFailedError(Exception):
    """The build cannot succeed; the message says what to do."""


def tell(text: str) -> None:
    """Say what comes next."""
    print(f"-----> {text}", flush=True)  # noqa: T201  # It is the output of the program.


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
    """Run a program in the app's directory; raise `BuildFailedError` if it fails."""
    try:
        code = subprocess.call(argv, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)
    except OSError as exc:
        raise BuildFailedError(f"cannot run {argv[0]}: {exc.strerror}") from exc
    if code:
        shown = " ".join([Path(argv[0]).name, *argv[1:4]])
        raise BuildFailedError(f"{shown}: ended with {code}")


def write_variable(directory: Path, name: str, value: str) -> None:
    """Let the child have a variable."""
    (directory / name).write_text(value, encoding="utf-8")


def run_program(build: Callable[[Path, Path, Path], None]) -> None:
    """Run the program that this process is, with the arguments APP_DIR, ENV_DIR and CACHE_DIR."""
    app, env, cache = map(Path, sys.argv[1:])
    try:
        build(app, env, cache)
    except BuildFailedError as exc:
        print(f"-----> {exc}", file=sys.__stderr__, flush=True)
        sys.exit(1)

"""The source of an app: a directory, an archive or a URL; the agent gets a URL."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import trio

from smartmob_agent.client import Client
from smartmob_agent.client_cli.failure import WRONG_USE, CommandError
from smartmob_agent.client_cli.naming import is_url
from smartmob_agent.client_cli.output import report
from smartmob_agent.client_cli.pack import Packed, pack

__all__ = ["source_url"]

_INSTALLED = {
    *("node_modules", "bower_components", "vendor", ".bundle", ".venv", "venv", "__pypackages__"),
    *("target", "build", "dist", "deps", "_build"),
}
"""Names of directories with what was installed or built, which most apps need to run."""
_TRASH = {
    *("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox"),
    *(".coverage", ".DS_Store", ".idea", ".vscode"),
}
_TRASH_SUFFIXES = (".pyc", ".pyo", ".swp", "~")
_MOST_NAMES = 8


async def source_url(client: Client, source: str, *, include: Sequence[str] = ()) -> str:
    """Return the URL of a source; files are uploaded first, with a progress bar on a terminal.

    include: patterns of files that are packed though git ignores them.

    Raises `CommandError`.
    """
    if is_url(source):
        _check_no_patterns(source, include)
        return source
    path = Path(source)
    try:
        if not await trio.Path(path).is_dir():
            _check_no_patterns(source, include)
            return await _upload(client, path)
        with tempfile.NamedTemporaryFile(prefix="smartmob-", suffix=".tar.gz") as file:
            _tell(await trio.to_thread.run_sync(_pack, path, file, include))
            return await _upload(client, Path(file.name))
    except OSError as exc:
        if exc.filename is None:  # The temporary archive, at the latest when it is closed.
            hint = "TMPDIR is where a directory is packed"
            raise CommandError(f"cannot upload {source}: {exc.strerror}", hint=hint) from exc
        raise CommandError(
            f"cannot read {exc.filename}: {exc.strerror}",
            hint="expected a directory, an archive, or a URL with http or https",
            code=WRONG_USE,
        ) from exc


def _check_no_patterns(source: str, include: Sequence[str]) -> None:
    if include:
        raise CommandError(
            f"--include is for a directory, which is packed; found {source}", code=WRONG_USE
        )


def _pack(directory: Path, file: IO[bytes], include: Sequence[str]) -> Packed:
    packed = pack(directory, file, trio.from_thread.check_cancelled, include=include)
    file.flush()
    return packed


def _tell(packed: Packed) -> None:
    """Report what is missing in an archive though the user may count on it."""
    for pattern in packed.unused:
        report(f"--include {pattern} matches nothing")
    names = [name for name in packed.left_out if not _is_trash(name)]
    names.sort(key=lambda name: _INSTALLED.isdisjoint(name.split("/")))
    if not names:
        return
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    told = ", ".join(names[:_MOST_NAMES]) + more
    report(f"left out, as .gitignore says: {told} (--include PATTERN takes in)")


def _is_trash(name: str) -> bool:
    """Whether nobody misses a file."""
    return not _TRASH.isdisjoint(name.split("/")) or name.endswith(_TRASH_SUFFIXES)


async def _upload(client: Client, path: Path) -> str:
    if not sys.stderr.isatty():
        return (await client.upload(path)).source_url
    from smartmob_agent.client_cli.terminal import open_progress_bar

    with open_progress_bar("uploading") as advance:
        return (await client.upload(path, progress=advance)).source_url

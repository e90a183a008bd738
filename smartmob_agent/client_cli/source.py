"""The source of an app: a directory, an archive or a URL; the agent gets a URL."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import trio

from smartmob_agent.client import Client
from smartmob_agent.client_cli.failure import WRONG_USE, CommandError
from smartmob_agent.client_cli.pack import pack

__all__ = ["app_name", "source_url"]

_SUFFIXES = re.compile(r"\.(zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz)$")
_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")


def is_url(source: str) -> bool:
    """Whether the agent downloads the source itself."""
    return source.startswith(("http://", "https://"))


def app_name(source: str) -> str:
    """Return a name for an app, from the path of its source."""
    path = urlsplit(source).path if is_url(source) else str(Path(source).resolve())
    name = _OTHERS.sub("-", _SUFFIXES.sub("", Path(path).name)).strip("-")[:64]
    if not name:
        raise CommandError(f"no name for {source}", hint="--app gives one", code=WRONG_USE)
    return name


async def source_url(client: Client, source: str) -> str:
    """Return the URL of a source; files are uploaded first, with a progress bar on a terminal.

    Raises `CommandError`.
    """
    if is_url(source):
        return source
    path = Path(source)
    try:
        if not await trio.Path(path).is_dir():
            return await _upload(client, path)
        with tempfile.NamedTemporaryFile(prefix="smartmob-", suffix=".tar.gz") as file:
            await trio.to_thread.run_sync(_pack, path, file)
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


def _pack(directory: Path, file: IO[bytes]) -> None:
    pack(directory, file, trio.from_thread.check_cancelled)
    file.flush()


async def _upload(client: Client, path: Path) -> str:
    if not sys.stderr.isatty():
        return (await client.upload(path)).source_url
    from smartmob_agent.client_cli.terminal import open_progress_bar

    with open_progress_bar("uploading") as advance:
        return (await client.upload(path, progress=advance)).source_url

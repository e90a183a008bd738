"""Packs a directory into an archive for the agent; the same files make the same bytes."""

from __future__ import annotations

import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from smartmob_agent.client_cli.failure import WRONG_USE, CommandError
from smartmob_agent.client_cli.ignore import Ignored

__all__ = ["pack"]

_GZIP = 16 + zlib.MAX_WBITS
"""A header and trailer by RFC 1952, with no time and no name: deflateInit2() in zlib.h."""


def pack(directory: Path, file: IO[bytes], check: Callable[[], object]) -> None:
    """Write a tar.gz of a directory, without the files that git ignores.

    check: called for each file; may raise, to cancel.

    Raises `CommandError` for files that the agent would reject, and `OSError`.
    """
    if not (directory / "Procfile").is_file():
        raise CommandError(
            f"expected a Procfile in {directory}, found none",
            hint="it names what to run: web: python3 web.py",
            code=WRONG_USE,
        )
    top = directory.resolve()
    ignored = Ignored.at(top)
    if (file_of_rules := ignored.file_for(top / "Procfile")) is not None:
        raise CommandError(
            f"expected a Procfile in {directory}, but {file_of_rules} leaves it out",
            hint="the rule !/Procfile takes it in",
            code=WRONG_USE,
        )
    # No times and no user names: unchanged files give the same digest.
    zipped = _Gzip(file)
    file_like = cast("IO[bytes]", zipped)  # tarfile needs no more of a file to write an archive.
    with tarfile.open(fileobj=file_like, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _walk(top, ignored):
            check()
            _add(tar, path, top)
    zipped.finish()


class _Gzip:
    """Compresses without a buffer of its own.

    After a full disk, `gzip.GzipFile` would raise again when its buffer is flushed (Python 3.13).
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._compressor = zlib.compressobj(wbits=_GZIP)
        self._size = 0

    def write(self, data: bytes) -> int:
        self._file.write(self._compressor.compress(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def finish(self) -> None:
        self._file.write(self._compressor.flush())


def _walk(directory: Path, ignored: Ignored) -> Iterator[Path]:
    """Yield the paths to pack, each directory before its contents."""
    for path in sorted(directory.iterdir()):
        if path in ignored:
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, ignored.below(path))


def _add(tar: tarfile.TarFile, path: Path, top: Path) -> None:
    member = tarfile.TarInfo(path.relative_to(top).as_posix())
    status = path.lstat()
    member.mode = 0o755 if status.st_mode & 0o111 else 0o644
    if stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    elif stat.S_ISLNK(status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, _target(path, top)
        tar.addfile(member)
    elif stat.S_ISREG(status.st_mode):
        with path.open("rb") as content:
            member.size = status.st_size
            try:
                tar.addfile(member, content)
            except OSError as exc:
                if exc.errno is None:  # Raised by tarfile, not by the system.
                    raise CommandError(f"{path} became shorter while it was packed") from exc
                raise


def _target(path: Path, top: Path) -> str:
    """Return the target of a link, as the agent takes it: absolute, or inside `top`.

    Raises `CommandError` for a relative one outside.
    """
    target = PurePosixPath(path.readlink())
    if target.is_absolute():
        return str(target)
    depth = len(path.relative_to(top).parts) - 1
    for part in target.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            break
    if depth < 0:
        raise CommandError(
            f"the link {path.relative_to(top)} leads out of the directory, to {target}",
            hint="the agent would refuse it; .gitignore leaves it out",
            code=WRONG_USE,
        )
    return str(target)

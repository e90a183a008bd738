"""A directory as an archive that the agent takes.  The same files make the same bytes."""

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
    """Write a tar.gz of a directory, without what git would not look at.

    check: called for each file; may raise, to give up.

    Raises `CommandError` for what the agent would refuse, and `OSError`.
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
    # No times and no names of users: who packs what has not changed, gets the same digest.
    zipped = _Gzip(file)
    file_like = cast("IO[bytes]", zipped)  # All of it that writing an archive asks for.
    with tarfile.open(fileobj=file_like, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _walk(top, ignored):
            check()
            _add(tar, path, top)
    zipped.finish()


class _Gzip:
    """Compresses what is written, without a buffer of its own.

    That of `gzip.GzipFile` would have something to say after a disk was full (Python 3.13).
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
    """Yield what is to be packed, each directory before what is in it."""
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
                if exc.errno is None:  # It is tarfile that says so, not the system.
                    raise CommandError(f"{path} became shorter while it was packed") from exc
                raise


def _target(path: Path, top: Path) -> str:
    """Return where a link leads, which must be inside."""
    target = PurePosixPath(path.readlink())
    depth = len(path.relative_to(top).parts) - 1
    for part in target.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            break
    if target.is_absolute() or depth < 0:
        raise CommandError(
            f"the link {path.relative_to(top)} leads out of the directory, to {target}",
            hint="the agent would refuse it; .gitignore leaves it out",
            code=WRONG_USE,
        )
    return str(target)

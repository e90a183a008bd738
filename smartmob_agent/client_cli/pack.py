"""Packs a directory into an archive for the agent; the same files make the same bytes."""

from __future__ import annotations

import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, cast

import attrs

from smartmob_agent.client_cli.failure import WRONG_USE, CommandError
from smartmob_agent.client_cli.ignore import Choice, Ignored, Selection

__all__ = ["Packed", "Walk", "pack"]

_GZIP = 16 + zlib.MAX_WBITS
"""A header and trailer by RFC 1952, with no time and no name: deflateInit2() in zlib.h."""


@attrs.frozen(kw_only=True)
class Packed:
    """What is worth a word about an archive.

    left_out: what git ignores, relative to the directory; a directory stands for all below it.
    unused: the patterns to include that matched nothing.
    """

    left_out: Sequence[str]
    unused: Sequence[str]


def pack(
    directory: Path,
    file: IO[bytes],
    check: Callable[[], object],
    *,
    include: Sequence[str] = (),
) -> Packed:
    """Write a tar.gz of a directory, without the files that git ignores.

    check: called for each file; may raise, to cancel.
    include: patterns of files that are packed all the same.

    Raises `CommandError` for files that the agent would reject, and `OSError`.
    """
    if not (directory / "Procfile").is_file():
        raise CommandError(
            f"expected a Procfile in {directory}, found none",
            hint="it names what to run: web: python3 web.py",
            code=WRONG_USE,
        )
    top = directory.resolve()
    selection = Selection(top, include)
    rules = selection.rules()
    if selection.choose(top / "Procfile", Choice.PACKED, rules) is not Choice.PACKED:
        file_of_rules = selection.file_for(top / "Procfile")
        raise CommandError(
            f"expected a Procfile in {directory}, but {file_of_rules} leaves it out",
            hint="the rule !/Procfile takes it in",
            code=WRONG_USE,
        )
    # No times and no user names: unchanged files give the same digest.
    zipped = _Gzip(file)
    file_like = cast("IO[bytes]", zipped)  # tarfile needs no more of a file to write an archive.
    walk = Walk(selection)
    with tarfile.open(fileobj=file_like, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in walk.paths(top, Choice.PACKED, rules):
            check()
            _add(tar, path, top)
    zipped.finish()
    left_out = [path.relative_to(top).as_posix() for path in walk.left_out]
    return Packed(left_out=left_out, unused=selection.unused)


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


class Walk:
    """Finds what to pack.

    left_out: what git ignores.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self.left_out: list[Path] = []

    def paths(self, directory: Path, above: Choice, ignored: Ignored) -> Iterator[Path]:
        """Yield the paths to pack, each directory before its contents.

        above: what became of the directory.
        """
        try:
            entries = sorted(directory.iterdir())
        except OSError:
            if above is Choice.PACKED:
                raise
            return  # It is looked into for what may be included alone.
        for path in entries:
            choice = self._selection.choose(path, above, ignored)
            inner = self._inner(path, choice, ignored)
            if choice is Choice.PACKED:
                yield path
            elif (first := next(inner, None)) is not None:
                yield path  # It is left out, but for this.
                yield first
            elif choice is Choice.IGNORED and above is Choice.PACKED:
                self.left_out.append(path)
            yield from inner

    def _inner(self, path: Path, choice: Choice, ignored: Ignored) -> Iterator[Path]:
        """Yield the paths to pack below a path."""
        if choice is Choice.NEVER or path.is_symlink() or not path.is_dir():
            return
        if choice is Choice.PACKED:
            yield from self.paths(path, choice, ignored.below(path))
        elif self._selection.includes_any:
            yield from self.paths(path, choice, ignored)


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
    """Return the target of a link; raises `CommandError` if it leads out of `top` by `..`.

    An absolute one is no file of the app: a virtual environment has one to its Python.
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
            hint="the agent would refuse it; .gitignore or .smartmobignore leaves it out",
            code=WRONG_USE,
        )
    return str(target)

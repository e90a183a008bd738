"""The files of an archive's members, below one directory and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import attrs

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import UnpackError
from smartmob_agent.source.archive.budget import Budget, CaseCollisions, folds_names
from smartmob_agent.source.archive.members import (
    Hole,
    Member,
    MemberKind,
    inner_path,
    inner_target,
    refusal,
)
from smartmob_agent.source.disk.free_space import FreeSpace

__all__ = ["Extraction", "open_extraction"]

DIRECTORY_MODE = 0o755
FILE_MODE = 0o644

T = TypeVar("T")

# Not setuid, setgid, sticky, nor writable for group and others.
KEPT_BITS = 0o755

# Space that a file, a directory or a link takes beside its content: about a block.
OVERHEAD_BYTES = 4096

# Directories that are remembered as made: enough for the usual order of members.
KNOWN_PARENTS = 1000

# Errors by names, sizes or numbers that the file system does not support: the archive's fault.
UNFIT = {errno.EFBIG, errno.EILSEQ, errno.EINVAL, errno.EMLINK, errno.ENAMETOOLONG}

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
OLD_FILE = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.define(eq=False, kw_only=True)
class Extraction:
    """Creates members, each as a new file; of several files or links of one name the last counts.

    There are no symbolic links before `finish`, so no path can lead through one.

    root_fd: the directory, which is empty at first and to which nobody else writes.
    check: called before each step that may take long; its exceptions propagate.
    names: rejects names that differ in case only; None where the file system keeps them apart.
    """

    root_fd: int
    limits: SourceLimits
    check: Callable[[], None]
    budget: Budget
    space: FreeSpace
    names: CaseCollisions | None = None
    # Path → target, as bytes, which are small and which the garbage collector does not traverse.
    _links: dict[bytes, bytes] = attrs.field(factory=dict)
    _parents: set[str] = attrs.field(factory=set)

    def add(self, member: Member, content: Iterable[bytes | Hole]) -> None:
        """Create a member; symbolic links are created later, by `finish`.

        Raises `UnpackError` for a member that must not be unpacked, `DownloadError` over a limit,
        and `OSError` when the disk is full or cannot be written.
        """
        self.check()
        path = inner_path(member.name, self.limits)
        self.budget.count(member.name)
        try:
            if member.kind is MemberKind.DIRECTORY:
                self._add_directory(path, member)
            else:
                self._add_other(path, member, content)
        except OSError as exc:
            if exc.errno in UNFIT:
                raise refusal(member.name, f"cannot be made here: {exc.strerror}") from exc
            raise

    def finish(self) -> None:
        """Create the symbolic links."""
        for raw_path, target in self._links.items():
            self.check()
            path = raw_path.decode()
            try:
                os.symlink(target, path, dir_fd=self.root_fd)
            except FileExistsError as exc:
                raise refusal(path, "a duplicate of another member") from exc

    def _add_other(self, path: str, member: Member, content: Iterable[bytes | Hole]) -> None:
        if not path:
            raise refusal(member.name, "expected a name")
        try:
            self._make_parents(path)
            self._use(path)
            self.space.take(OVERHEAD_BYTES)
            self._create(path, member, content)
        except IsADirectoryError as exc:
            raise refusal(member.name, "a duplicate of an earlier directory") from exc
        except NotADirectoryError as exc:
            raise refusal(member.name, "expected a directory above, found a file") from exc

    def _create(self, path: str, member: Member, content: Iterable[bytes | Hole]) -> None:
        if member.kind is MemberKind.SYMLINK:
            self._add_link(path, member.target, member)
        elif member.kind is MemberKind.HARDLINK:
            self._hard_link(path, member, content)
        else:
            self._drop_link(path)
            self._write(path, NEW_FILE, member, content)

    def _add_link(self, path: str, target: str, member: Member) -> None:
        """Add a symbolic link for `finish`, in the place of an earlier file or link."""
        target = inner_target(path, target, self.limits)
        self.budget.take_link(member.name, len(path) + len(target))
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            os.unlink(path, dir_fd=self.root_fd)  # a directory is for `finish` to find
        self._links[path.encode()] = target.encode()

    def _drop_link(self, path: str) -> None:
        if self._links:
            self._links.pop(path.encode(), None)

    def _hard_link(self, path: str, member: Member, content: Iterable[bytes | Hole]) -> None:
        try:
            source = inner_path(member.target, self.limits)
        except UnpackError as exc:
            raise _no_hard_link(member) from exc
        if (link := self._links.get(source.encode())) is not None:
            self._add_link(path, link.decode(), member)
            return
        try:
            # A file that was named twice is a link to itself the second time, to GNU tar.
            if source == path:
                self._require_file(path)
            else:
                self._drop_link(path)
                self._in_place(path, lambda: self._link(source or ".", path))
        except (FileNotFoundError, NotADirectoryError, PermissionError) as exc:
            raise _no_hard_link(member) from exc
        if member.size:
            self._write(path, OLD_FILE, member, content)

    def _require_file(self, path: str) -> None:
        if self._is_directory(path):
            raise PermissionError

    def _is_directory(self, path: str) -> bool:
        return stat.S_ISDIR(os.stat(path, dir_fd=self.root_fd, follow_symlinks=False).st_mode)

    def _link(self, source: str, path: str) -> None:
        fd = self.root_fd
        os.link(source, path, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)

    def _write(
        self, path: str, flags: int, member: Member, content: Iterable[bytes | Hole]
    ) -> None:
        self.budget.take_bytes(member.name, member.size)
        self.space.take(member.size)
        fd = self._in_place(path, lambda: os.open(path, flags, 0o600, dir_fd=self.root_fd))
        try:
            for piece in content:
                self.check()
                if isinstance(piece, Hole):
                    os.truncate(fd, os.lseek(fd, piece.size, os.SEEK_CUR))
                    continue
                self.space.take(len(piece))
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view) :]
            mode = FILE_MODE if member.mode is None else member.mode & KEPT_BITS | 0o600
            os.fchmod(fd, mode)
        finally:
            os.close(fd)

    def _in_place(self, path: str, make: Callable[[], T]) -> T:
        """Make a file, in the place of an earlier one; `IsADirectoryError` for a directory."""
        try:
            return make()
        except FileExistsError:
            if self._is_directory(path):
                raise IsADirectoryError from None
            os.unlink(path, dir_fd=self.root_fd)
            return make()

    def _add_directory(self, path: str, member: Member) -> None:
        if not path:
            return
        try:
            self._make_directory(path)
        except NotADirectoryError as exc:
            raise refusal(member.name, "a duplicate of an earlier file") from exc
        if member.mode is not None:
            os.chmod(path, member.mode & KEPT_BITS | 0o700, dir_fd=self.root_fd)

    def _make_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent not in self._parents:
            self._make_implied(parent)
            if len(self._parents) >= KNOWN_PARENTS:
                self._parents.clear()
            self._parents.add(parent)

    def _make_implied(self, path: str) -> None:
        """Make a directory that may not be a member itself."""
        if path and self._make_directory(path):
            self.budget.count(path)

    def _make_directory(self, path: str) -> bool:
        """Make a directory and its parents; False if it exists already."""
        try:
            return self._make_one(path)
        except FileNotFoundError:
            slashes = [at for at, character in enumerate(path) if character == "/"]
            for at in slashes:
                if self._make_one(path[:at]):
                    self.budget.count(path[:at])
            return self._make_one(path)

    def _use(self, path: str) -> None:
        if self.names is not None:
            self.names.use(path)

    def _make_one(self, path: str) -> bool:
        self._use(path)
        try:
            os.mkdir(path, DIRECTORY_MODE, dir_fd=self.root_fd)
        except FileExistsError:
            # Raises NotADirectoryError unless the existing one is a directory.
            os.close(os.open(path, DIRECTORY, dir_fd=self.root_fd))
            return False
        self.space.take(OVERHEAD_BYTES)
        return True


def _no_hard_link(member: Member) -> UnpackError:
    return refusal(member.name, "expected a hard link to an earlier file or link of the archive")


@contextlib.contextmanager
def open_extraction(
    directory: Path, limits: SourceLimits, budget: Budget, check: Callable[[], None]
) -> Iterator[Extraction]:
    """Open an existing directory for the files of an archive."""
    fd = os.open(directory, DIRECTORY)
    try:
        space = FreeSpace(fd=fd, min_free_bytes=limits.min_free_bytes)
        names = CaseCollisions() if folds_names(fd) else None
        yield Extraction(
            root_fd=fd, limits=limits, check=check, budget=budget, space=space, names=names
        )
    finally:
        os.close(fd)

"""The files of an archive's members, below one directory and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import UnpackError
from smartmob_agent.source.archive.budget import Budget, CaseCollisions, folds_names
from smartmob_agent.source.archive.members import (
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

# Not setuid, setgid, sticky, nor writable for group and others.
KEPT_BITS = 0o755

# Space that a file, a directory or a link takes beside its content: about a block.
OVERHEAD_BYTES = 4096

# Directories that are remembered as made: enough for the usual order of members.
KNOWN_PARENTS = 1000

# Errors by names or numbers that the file system does not support: the archive's fault.
UNFIT = {errno.EILSEQ, errno.EINVAL, errno.EMLINK, errno.ENAMETOOLONG}

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.define(eq=False, kw_only=True)
class Extraction:
    """Creates members, each as a new file: nothing is overwritten, and no link is followed.

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
    # As bytes, which are small and which the garbage collector does not traverse.
    _links: list[bytes] = attrs.field(factory=list)
    _parents: set[str] = attrs.field(factory=set)

    def add(self, member: Member, content: Iterable[bytes]) -> None:
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
        for link in self._links:
            self.check()
            path, target = link.decode().split("\0")
            try:
                os.symlink(target, path, dir_fd=self.root_fd)
            except FileExistsError as exc:
                raise refusal(path, "a duplicate of another member") from exc

    def _add_other(self, path: str, member: Member, content: Iterable[bytes]) -> None:
        if not path:
            raise refusal(member.name, "expected a name")
        try:
            self._make_parents(path)
            self._use(path)
            self.space.take(OVERHEAD_BYTES)
            self._create(path, member, content)
        except FileExistsError as exc:
            raise refusal(member.name, "a duplicate of an earlier member") from exc
        except NotADirectoryError as exc:
            raise refusal(member.name, "expected a directory above, found a file") from exc

    def _create(self, path: str, member: Member, content: Iterable[bytes]) -> None:
        if member.kind is MemberKind.SYMLINK:
            target = inner_target(path, member.target, self.limits)
            self.budget.take_link(member.name, len(path) + len(target))
            self._links.append(f"{path}\0{target}".encode())
        elif member.kind is MemberKind.HARDLINK:
            self._hard_link(path, member)
        else:
            self._write(path, member, content)

    def _hard_link(self, path: str, member: Member) -> None:
        try:
            source = inner_path(member.target, self.limits)
            os.link(
                source or ".",
                path,
                src_dir_fd=self.root_fd,
                dst_dir_fd=self.root_fd,
                follow_symlinks=False,
            )
        except (UnpackError, FileNotFoundError, NotADirectoryError, PermissionError) as exc:
            raise refusal(
                member.name, "expected a hard link to an earlier file of the archive"
            ) from exc

    def _write(self, path: str, member: Member, content: Iterable[bytes]) -> None:
        self.budget.take_bytes(member.name, member.size)
        self.space.take(member.size)
        fd = os.open(path, NEW_FILE, 0o600, dir_fd=self.root_fd)
        try:
            for piece in content:
                self.check()
                self.space.take(len(piece))
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view) :]
            mode = FILE_MODE if member.mode is None else member.mode & KEPT_BITS | 0o600
            os.fchmod(fd, mode)
        finally:
            os.close(fd)

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

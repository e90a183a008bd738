"""Files below one directory, and nowhere else: where the members of an archive go."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs

from smartmob_agent.config import SourceLimits
from smartmob_agent.errors import DownloadError, UnpackError
from smartmob_agent.source.members import Kind, Member, inner_path, inner_target, refusal

__all__ = ["Tree", "open_tree"]

DIRECTORY_MODE = 0o755
FILE_MODE = 0o644

# Not setuid, setgid, sticky, nor writable for group and others.
KEPT_BITS = 0o755

# Links are kept in memory until the end; real apps have some thousand short ones.
LINK_BYTES = 8 * 1024 * 1024

# Directories that are known to be there: enough for the order in which archives come.
KNOWN_PARENTS = 1000

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.define(eq=False, kw_only=True)
class Tree:
    """Creates members, each one new: nothing is overwritten, and no link is followed.

    There are no symbolic links before `finish`, so no path can lead through one.

    root_fd: the directory, which is empty at first and which nobody else writes into.
    check: called before each step that may take long; what it raises comes through.
    """

    root_fd: int
    limits: SourceLimits
    check: Callable[[], None]
    _members: int = 0
    _bytes: int = 0
    _link_bytes: int = 0
    _links: list[tuple[str, str]] = attrs.field(factory=list)
    _parents: set[str] = attrs.field(factory=set)

    def add(self, member: Member, content: Iterable[bytes]) -> None:
        """Create a member; a symbolic link comes last, by `finish`.

        Raises `UnpackError` for what must not be unpacked, `DownloadError` over a limit,
        and `OSError` when the disk says no.
        """
        self.check()
        path = inner_path(member.name, self.limits)
        if member.kind is Kind.DIRECTORY:
            self._count()
            self._add_directory(path, member)
            return
        if not path:
            raise refusal(member.name, "expected a name")
        try:
            self._make_parents(path)
            self._count()
            self._create(path, member, content)
        except FileExistsError as exc:
            raise refusal(member.name, "a duplicate of an earlier member") from exc
        except NotADirectoryError as exc:
            raise refusal(member.name, "expected a directory above, found a file") from exc

    def finish(self) -> None:
        """Create the symbolic links."""
        for path, target in self._links:
            self.check()
            try:
                os.symlink(target, path, dir_fd=self.root_fd)
            except FileExistsError as exc:
                raise refusal(path, "a duplicate of another member") from exc

    def _create(self, path: str, member: Member, content: Iterable[bytes]) -> None:
        if member.kind is Kind.SYMLINK:
            target = inner_target(path, member.target, self.limits)
            self._link_bytes += len(path) + len(target)
            if self._link_bytes > LINK_BYTES:
                raise DownloadError(f"expected links of at most {LINK_BYTES} bytes in all")
            self._links.append((path, target))
        elif member.kind is Kind.HARDLINK:
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
        self._take_bytes(member.size)
        fd = os.open(path, NEW_FILE, 0o600, dir_fd=self.root_fd)
        with os.fdopen(fd, "wb", buffering=0) as file:
            for piece in content:
                self.check()
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
            mode = FILE_MODE if member.mode is None else member.mode & KEPT_BITS | 0o600
            os.fchmod(fd, mode)

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
            self._make_directory(parent)
            if len(self._parents) >= KNOWN_PARENTS:
                self._parents.clear()
            self._parents.add(parent)

    def _make_directory(self, path: str) -> None:
        """Make a directory with those above it; nothing to do where one is already."""
        if not path:
            return
        try:
            os.mkdir(path, DIRECTORY_MODE, dir_fd=self.root_fd)
        except FileNotFoundError:
            self._make_directory(path.rpartition("/")[0])
            os.mkdir(path, DIRECTORY_MODE, dir_fd=self.root_fd)
        except FileExistsError:
            # Opened to see that it is one: NotADirectoryError otherwise.
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(path, flags, dir_fd=self.root_fd))
            return
        self._count()

    def _count(self) -> None:
        """Count what is created, and the directories that members only imply."""
        self._members += 1
        if self._members > self.limits.members:
            raise DownloadError(
                f"expected at most {self.limits.members} members in the archive, found more"
            )

    def _take_bytes(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self.limits.unpacked_bytes:
            raise DownloadError(
                f"expected at most {self.limits.unpacked_bytes} bytes in the archive, found more"
            )


@contextlib.contextmanager
def open_tree(directory: Path, limits: SourceLimits, check: Callable[[], None]) -> Iterator[Tree]:
    """Make the tree below an existing directory."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield Tree(root_fd=fd, limits=limits, check=check)
    finally:
        os.close(fd)

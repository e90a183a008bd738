"""Tar archives, read once from front to back, in bounded memory.

Formats: POSIX ustar and pax (pax(1) of POSIX.1-2017), GNU tar, and the old one of Unix v7.
Written by hand because the standard library reads a header of any size into memory, and
follows chains of them with recursion.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping

import attrs

from smartmob_agent.errors import DownloadError, UnpackError
from smartmob_agent.source.archive.members import (
    Content,
    Member,
    MemberKind,
    decode_name,
    excess,
    refusal,
)
from smartmob_agent.source.archive.pax import PART_OF_FILE, UNKNOWN_SPARSE, parse_pax
from smartmob_agent.source.archive.tar_header import (
    END,
    TarHeader,
    is_tar,
    parse_decimal,
    parse_header,
)
from smartmob_agent.source.archive.tar_input import BLOCK_BYTES, TarInput
from smartmob_agent.source.archive.tar_sparse import (
    SparseFile,
    map_after_header,
    map_in_content,
    map_in_pax,
    sparse_format,
)

__all__ = ["BLOCK_BYTES", "is_tar", "tar_members"]

# Enough for a path, a link and the attributes of any file system.
EXTENSION_BYTES = 1024 * 1024
"""Limit for all headers that extend members, which grows by `MEMBER_BYTES` with each member."""
MEMBER_BYTES = 4096
RECORD_BYTES = 100
"""Added for each line of such a header: it takes about as much time."""
NUMBER_BYTES = 12
"""Added for each number in the map of a sparse file: so much it takes in the old format."""

DUMP_DIRECTORY = b"D"
"""Of an incremental archive: its content is a list of the files in it."""

KINDS = {
    b"0": MemberKind.FILE,
    b"\0": MemberKind.FILE,
    b"7": MemberKind.FILE,  # to be contiguous on disk, which no system does
    b"S": MemberKind.FILE,  # sparse
    b"1": MemberKind.HARDLINK,
    b"2": MemberKind.SYMLINK,
    b"5": MemberKind.DIRECTORY,
    DUMP_DIRECTORY: MemberKind.DIRECTORY,
}

UNKNOWN_FORMAT = "a sparse file of an unknown format"
A_PART = "a part of another archive's file"
REFUSED = {
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a fifo",
    b"M": A_PART,
}

PAX, PAX_DEFAULTS, LONG_NAME, LONG_TARGET = b"x", b"g", b"L", b"K"
EXTENSIONS = {PAX, PAX_DEFAULTS, LONG_NAME, LONG_TARGET}
VOLUME_LABEL = b"V"

NEWLINE = b"\n"


def tar_members(read: Callable[[int], bytes]) -> Iterator[tuple[Member, Content]]:
    """The members of an archive, each with its content in pieces of at most 256 KiB.

    The content can be read until the next member is requested.  Bytes after the end of the
    archive are read as well, so that a decompressor checks its checksum.

    read: returns at most so many bytes, none only at the end.

    Raises `UnpackError` when the archive is damaged, cut short, or has a member that is neither
    file nor directory nor link; `DownloadError` for headers over their limit.
    """
    return _Reader(source=TarInput(read)).members()


@attrs.define(eq=False, kw_only=True)
class _Reader:
    """Reads one archive.

    spare: how much may come yet that extends headers.
    defaults, extra: of pax headers, for all members that follow and for the next one.
    has_pax: whether there was such a header.
    """

    source: TarInput
    spare: int = EXTENSION_BYTES
    defaults: dict[str, str] = attrs.field(factory=dict)
    extra: dict[str, str] = attrs.field(factory=dict)
    has_pax: bool = False

    def members(self) -> Iterator[tuple[Member, Content]]:
        while (block := self._next_block()) != END:
            header = parse_header(block)
            if header.type in EXTENSIONS:
                self._extend(header)
            elif header.type == VOLUME_LABEL:
                self._read_extension(header)
            else:
                member, content = self._member(header)
                yield member, content
                deque(content, maxlen=0)  # the content that was not read
                self.extra = {}
                self.spare += MEMBER_BYTES
        self.source.drain()

    def _next_block(self) -> bytes:
        """Take a header; some programs write no end, so that of the archive counts as one."""
        if not self.extra and not self.source.peek():
            return END
        return self.source.block()

    def _extend(self, header: TarHeader) -> None:
        data = self._read_extension(header)
        if header.type in {PAX, PAX_DEFAULTS}:
            self.has_pax = True
            (self.extra if header.type == PAX else self.defaults).update(parse_pax(data))
        else:  # pax, which is more exact, wins
            key = "path" if header.type == LONG_NAME else "linkpath"
            self.extra.setdefault(key, decode_name(data.partition(b"\0")[0]))

    def _read_extension(self, header: TarHeader) -> bytes:
        if header.size > EXTENSION_BYTES:
            raise _too_large(header)
        self._spend(header, BLOCK_BYTES + header.size)
        data = b"".join(self.source.content(header.size))
        self._spend(header, RECORD_BYTES * data.count(NEWLINE))
        return data

    def _spend(self, header: TarHeader, size: int) -> None:
        self.spare -= size
        if self.spare < 0:
            raise _too_large(header)

    def _member(self, header: TarHeader) -> tuple[Member, Content]:
        extra = {**self.defaults, **self.extra}
        name = extra.get("GNU.sparse.name") or extra.get("path") or decode_name(header.name)
        kind = _kind(header, extra, name)
        stored = parse_decimal(extra["size"]) if "size" in extra else header.size
        sparse = sparse_format(header, extra) if kind is MemberKind.FILE else None
        if sparse is not None:
            file, stored = self._sparse_file(name, header, extra, stored)
            member = Member(name=name, kind=kind, mode=header.mode, size=file.size)
            return member, file.content(self.source, stored)
        if not (
            kind is MemberKind.FILE
            or header.type == DUMP_DIRECTORY
            or (kind is MemberKind.HARDLINK and self._has_content(header, stored))
        ):
            stored = 0  # It says something else, if anything.
        is_link = kind in {MemberKind.SYMLINK, MemberKind.HARDLINK}
        member = Member(
            name=name,
            kind=kind,
            mode=header.mode,
            size=0 if kind is MemberKind.DIRECTORY else stored,
            target=(extra.get("linkpath") or decode_name(header.target)) if is_link else "",
        )
        return member, self.source.content(stored)

    def _has_content(self, header: TarHeader, size: int) -> bool:
        """Whether a hard link comes with content.

        Only pax allows that, which need not have a header of its own.  Without one, the next
        block tells: other programs give a size, too, but have the next header there.
        """
        if not size or not header.is_ustar:
            return False
        following = self.source.peek()
        return self.has_pax or not (is_tar(following) or not following)

    def _sparse_file(
        self, name: str, header: TarHeader, extra: Mapping[str, str], stored: int
    ) -> tuple[SparseFile, int]:
        """Read the map of a sparse file; also how many bytes of the file follow."""
        match sparse_format(header, extra):
            case "old":
                file = map_after_header(name, header, self.source)
            case "1.0":
                file, map_bytes = map_in_content(name, extra, self.source, stored)
                stored -= map_bytes
            case "0":
                file = map_in_pax(name, extra)
            case _:
                raise _unfit(name, UNKNOWN_FORMAT)
        self._spend(header, NUMBER_BYTES * len(file.numbers))
        file.check(stored)
        return file, stored


def _kind(header: TarHeader, extra: Mapping[str, str], name: str) -> MemberKind:
    kind = KINDS.get(header.type)
    if kind is None:
        unknown = f"something of the unknown type {header.type!r}"
        raise _unfit(name, REFUSED.get(header.type, unknown))
    if PART_OF_FILE in extra:
        raise _unfit(name, A_PART)
    if UNKNOWN_SPARSE in extra:
        raise _unfit(name, UNKNOWN_FORMAT)
    if kind is MemberKind.FILE and name.endswith("/"):  # a directory of the old format
        return MemberKind.DIRECTORY
    return kind


def _unfit(name: str, found: str) -> UnpackError:
    return refusal(name, f"expected a file, directory or link, found {found}")


def _too_large(header: TarHeader) -> DownloadError:
    return excess(
        header.name.decode("ascii", "backslashreplace"),
        f"tar headers of at most {EXTENSION_BYTES} bytes, and {MEMBER_BYTES} for each member",
    )

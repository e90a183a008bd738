"""Tar archives, read once from front to back, in bounded memory.

Formats: POSIX ustar and pax (pax(1) of POSIX.1-2017), GNU tar, and the old one of Unix v7.
Written by hand because the standard library reads a header of any size into memory, and
follows chains of them with recursion.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import attrs

from smartmob_agent.errors import CutShortError, UnpackError
from smartmob_agent.source.archive.members import Member, MemberKind, decode_name, excess, refusal

__all__ = ["BLOCK_BYTES", "is_tar", "tar_members"]

BLOCK_BYTES = 512
END = bytes(BLOCK_BYTES)

CHUNK_BYTES = 256 * 1024

# Enough for a path, a link and the attributes of any file system.
EXTENSION_BYTES = 1024 * 1024
"""Limit for all headers that extend members, which grows by `MEMBER_BYTES` with each member."""
MEMBER_BYTES = 4096
RECORD_BYTES = 100
"""Added for each line of such a header: it takes about as much time."""

KINDS = {
    b"0": MemberKind.FILE,
    b"\0": MemberKind.FILE,
    b"7": MemberKind.FILE,  # to be contiguous on disk, which no system does
    b"1": MemberKind.HARDLINK,
    b"2": MemberKind.SYMLINK,
    b"5": MemberKind.DIRECTORY,
}

REFUSED = {
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a fifo",
    b"M": "a part of another archive's file",
    b"S": "a sparse file",
}

NEWLINE = 0x0A
ASCII = bytes(range(128))

PAX_KEYS = frozenset({"linkpath", "path", "size"})
SPARSE_KEYS = ("GNU.sparse.", "SCHILY.realsize", "SUN.holesdata")
"""Marks of sparse files by GNU tar (and libarchive), star and Solaris."""

Read = Callable[[int], bytes]
"""Returns at most so many bytes, none only at the end."""


@attrs.frozen(kw_only=True)
class _Header:
    name: bytes
    mode: int
    size: int
    type: bytes
    target: bytes


def is_tar(block: bytes) -> bool:
    """Whether an archive that begins with `block` is a tar archive, perhaps an empty one.

    The checksum decides: the old format has no other mark.
    """
    if len(block) < BLOCK_BYTES:
        return False
    if block == END:
        return True
    expected = _octal(block[148:156])
    rest = block[:148] + b" " * 8 + block[156:]
    total = sum(rest)
    # Some old programs added up signed bytes.
    return expected == total or expected == total - 256 * len(rest.translate(None, ASCII))


def tar_members(read: Read) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """The members of an archive, each with its content in pieces of at most 256 KiB.

    The content can be read until the next member is requested.  Bytes after the end of the
    archive are read as well, so that a decompressor checks its checksum.

    Raises `UnpackError` when the archive is damaged, cut short, or has a member that is neither
    file nor directory nor link; `DownloadError` for headers over their limit.
    """
    defaults: dict[str, str] = {}
    extra: dict[str, str] = {}
    spare = EXTENSION_BYTES
    while (block := _exactly(read, BLOCK_BYTES)) != END:
        header = _parse(block)
        if header.type in {b"g", b"x", b"L", b"K"}:
            spare -= BLOCK_BYTES + header.size
            data = _extension(read, header, spare)
            spare -= RECORD_BYTES * data.count(NEWLINE)
            _check_spare(header, spare)
            if header.type in {b"g", b"x"}:
                (defaults if header.type == b"g" else extra).update(_parse_pax(data))
            else:  # pax, which is more exact, wins
                extra.setdefault("path" if header.type == b"L" else "linkpath", _text(data))
            continue
        member = _member(header, {**defaults, **extra})
        content = _content(read, member.size)
        yield member, content
        deque(content, maxlen=0)  # the content that was not read
        extra, spare = {}, spare + MEMBER_BYTES
    while read(CHUNK_BYTES):
        pass


def _member(header: _Header, extra: dict[str, str]) -> Member:
    name = extra.get("path") or decode_name(header.name)
    kind = KINDS.get(header.type)
    if kind is None:
        unknown = f"something of the unknown type {header.type!r}"
        found = REFUSED.get(header.type, unknown)
        raise refusal(name, f"expected a file, directory or link, found {found}")
    if "sparse" in extra:
        raise refusal(name, "expected a file, directory or link, found a sparse file")
    if kind is MemberKind.FILE and name.endswith("/"):  # a directory of the old format
        kind = MemberKind.DIRECTORY
    size = _decimal(extra["size"]) if "size" in extra else header.size
    is_link = kind in {MemberKind.SYMLINK, MemberKind.HARDLINK}
    return Member(
        name=name,
        kind=kind,
        mode=header.mode,
        size=size if kind is MemberKind.FILE else 0,
        target=(extra.get("linkpath") or decode_name(header.target)) if is_link else "",
    )


def _content(read: Read, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = read(min(left, CHUNK_BYTES))
        if not piece:
            raise _cut_short()
        left -= len(piece)
        yield piece
    _exactly(read, -size % BLOCK_BYTES)


def _extension(read: Read, header: _Header, spare: int) -> bytes:
    _check_spare(header, min(spare, EXTENSION_BYTES - header.size))
    return b"".join(_content(read, header.size))


def _check_spare(header: _Header, spare: int) -> None:
    if spare < 0:
        raise excess(
            header.name.decode("ascii", "backslashreplace"),
            f"tar headers of at most {EXTENSION_BYTES} bytes, and {MEMBER_BYTES} for each member",
        )


def _exactly(read: Read, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = read(size - len(data))
        if not piece:
            raise _cut_short()
        data += piece
    return data


def _cut_short() -> CutShortError:
    return CutShortError("the tar archive is cut short")


def _parse(block: bytes) -> _Header:
    if not is_tar(block):
        raise UnpackError("the tar archive is damaged: wrong checksum of a header")
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0]
    # GNU tar, whose magic has blanks, has other fields there.
    if block[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    mode, size = _number(block[100:108]), _number(block[124:136])
    target = block[157:257].partition(b"\0")[0]
    return _Header(name=name, mode=mode, size=size, type=block[156:157], target=target)


def _number(field: bytes) -> int:
    """Parse octal digits, or GNU tar's base 256 for larger numbers; never below 0."""
    value = int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)
    if value is None:
        raise UnpackError(f"the tar archive is damaged: expected a number, found {field!r}")
    return value


def _octal(field: bytes) -> int | None:
    digits = field.partition(b"\0")[0].strip(b" ")
    if digits.strip(b"01234567"):
        return None
    return int(digits or b"0", 8)


def _text(data: bytes) -> str:
    return decode_name(data.partition(b"\0")[0])


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise UnpackError(f"the tar archive is damaged: expected a size, found {text[:20]!r}")
    return int(text)


def _parse_pax(data: bytes) -> dict[str, str]:
    """Parse the records `LENGTH KEY=VALUE\\n` that matter; "sparse" is set for a sparse file."""
    records: dict[str, str] = {}
    start = 0
    while start < len(data):
        blank = data.find(b" ", start, start + 20)
        length = _octet_count(data[start:blank]) if blank > 0 else 0
        end = start + length
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        fits = blank + 1 < end <= len(data)  # also: at least one step on
        if not (equals and fits and data[end - 1] == NEWLINE):
            raise _damaged_pax()
        name = key.decode("ascii", "replace")
        if name in PAX_KEYS:
            records[name] = decode_name(value)
        elif name.startswith(SPARSE_KEYS):
            records["sparse"] = ""
        start = end
    return records


def _octet_count(digits: bytes) -> int:
    return int(digits) if digits.isdigit() else 0


def _damaged_pax() -> UnpackError:
    return UnpackError("the tar archive is damaged: a pax header that cannot be read")

"""Archives that do what must not work, each with what it is and how it ends."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import attrs

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import DownloadError, SourceError, UnpackError
from tests.source.archives import (
    BLOCK_DEVICE,
    DEVICE,
    END,
    FIFO,
    Entry,
    directory,
    edit,
    hardlink,
    header,
    make_tar,
    make_zip,
    pax,
    record,
    set_size,
    symlink,
)

LIMITS = SourceLimits(unpacked_bytes=64 * 1024**2, members=50, path_bytes=300, path_depth=5)
"""What the messages below speak of."""

OUTSIDE = "/tmp/smartmob-agent-evil"
"""Nothing is ever there."""
ZEROS = bytes(8 * 1024**2)

ABSOLUTE = "expected a relative path, found an absolute one"
CONTENT = "it has not the size and checksum that it should have"
CONTROL = "expected a name without control characters"
CUT = "the tar archive is cut short"
DAMAGED = "the tar archive is damaged: "
DUPLICATE = "a duplicate of an earlier directory"
HARDLINK = "expected a hard link to an earlier file or link of the archive"
HEADERS = "expected tar headers of at most 1048576 bytes, and 4096 for each member"
LINK_DUPLICATE = "a duplicate of another member"
LINK_OUTSIDE = "expected a link that stays inside the archive"
MEMBERS = "expected at most 50 members, found more"
NO_FILE = "expected a file, directory or link"
NO_UTF8 = "expected a name in UTF-8"
PARTS = "expected sparse files of at most 65536 parts"
PADDING = "expected a smaller archive, found headers and padding"
PATH = "expected paths of at most 300 bytes and names of 255"
SPARSE = f"{NO_FILE}, found a sparse file of an unknown format"
SPARSE_MAP = "expected the map of a sparse file"
SPARSE_ORDER = "expected the parts of a sparse file in order"
SPARSE_SIZE = "expected a sparse file of the size of its parts"
UP = "expected a path without '..'"
SWELLING = "expected at most 67108864 bytes in all, found more"


@attrs.frozen(kw_only=True)
class EvilArchive:
    """An archive of which nothing good comes.

    what: what it is.
    member: whom the error names; None if it is nobody's fault in particular.
    message: what the error says then.
    """

    what: str
    member: str | None
    error: type[SourceError]
    message: str
    make: Callable[[], bytes]

    @property
    def state(self) -> str:
        """What becomes of a process with such a source."""
        return "unpack failure" if self.error is UnpackError else "download failure"

    @property
    def text(self) -> str:
        """The whole error."""
        who = f"{self.member!r} in the archive: " if self.member is not None else ""
        return who + self.message


EVIL_ARCHIVES: list[EvilArchive] = []

make: Callable[[], bytes]


def evil(
    what: str,
    member: str | None,
    message: str,
    make: Callable[[], bytes],
    *,
    error: type[SourceError] = UnpackError,
) -> None:
    """Add an archive."""
    EVIL_ARCHIVES.append(
        EvilArchive(what=what, member=member, error=error, message=message, make=make)
    )


def evil_tar(what: str, member: str, message: str, *entries: Entry, format: int = 1) -> None:  # noqa: A002
    """Add a tar of these members."""
    make = functools.partial(make_tar, *entries, format=format)
    evil(f"{what}, in a tar", member, message, make)


def evil_both(what: str, member: str, message: str, *entries: Entry) -> None:
    """Add a tar and a zip of these members."""
    evil_tar(what, member, message, *entries)
    evil(f"{what}, in a zip", member, message, functools.partial(make_zip, *entries))


def too_much(what: str, member: str | None, message: str, make: Callable[[], bytes]) -> None:
    """Add an archive that is over a limit."""
    evil(what, member, message, make, error=DownloadError)


def raw(*parts: bytes) -> Callable[[], bytes]:
    """A tar of these headers and contents."""
    return lambda: b"".join(parts) + END


def typed(name: str, kind: bytes, content: bytes = b"") -> bytes:
    return header(Entry(name, content, kind))


# Paths that lead outside.
FILE = Entry("a", b"honest")
for name in (OUTSIDE, "//" + OUTSIDE.lstrip("/")):
    evil_both(f"the absolute path {name}", name, ABSOLUTE, Entry(name, b"evil"))
for name in ("../evil", "a/../../evil", "./../evil", "a/.."):
    evil_both(f"the path {name}", name, UP, Entry(name, b"evil"))
evil_both("a directory above the top", "../", UP, directory(".."))
evil_tar("the absolute path of a directory", OUTSIDE + "/", ABSOLUTE, directory(OUTSIDE))
evil(
    "an absolute path in a pax header, behind an honest name",
    OUTSIDE,
    ABSOLUTE,
    raw(pax(record("path", OUTSIDE.encode())), header(FILE)),
)
evil(
    "an absolute path for all members in a global pax header",
    OUTSIDE,
    ABSOLUTE,
    raw(pax(record("path", OUTSIDE.encode()), b"g"), header(FILE)),
)
evil(
    "a long name of GNU tar that leads outside",
    "../evil",
    UP,
    raw(typed("././@LongLink", b"L", b"../evil\0"), header(FILE)),
)
evil(
    "a prefix of ustar that makes a path absolute",
    "/tmp/a",
    ABSOLUTE,
    raw(header(FILE, lambda block: block.__setitem__(slice(345, 349), b"/tmp"))),
)
evil_both("a file in the place of the top", ".", "expected a name", Entry(".", b"evil"))

# Links.
for name, target in (("l", ".."), ("a/l", "../../b"), ("a/l", "b/../../../c"), ("l", "a/../..")):
    evil_both(f"a link {name} to {target}", name, LINK_OUTSIDE, symlink(name, target))
for target in (OUTSIDE, ".."):
    # An absolute one is kept, but for the app: a directory is in its place.
    message = LINK_DUPLICATE if target == OUTSIDE else LINK_OUTSIDE
    entries = (symlink("l", target), Entry("l/evil", b"evil"))
    evil_both(f"a link to {target}, then a file through it", "l", message, *entries)
evil_both(
    "a link inside, then a file through it",
    "l",
    LINK_DUPLICATE,
    *(directory("d"), symlink("l", "d"), Entry("l/evil", b"evil")),
)
evil_both(
    "a link through a link, so that they lead outside together",
    "l",
    LINK_DUPLICATE,
    *(symlink("l", "."), symlink("l/m", "..")),
)
evil_both(
    "a link in the place of a directory", "d", LINK_DUPLICATE, directory("d"), symlink("d", "b")
)
evil_both("a newline in the target of a link", "l", CONTROL, symlink("l", "a\nb"))
evil_tar("a link to nothing", "l", "expected a link with a target, found none", symlink("l", ""))
evil_both(
    "a link through an absolute one, that leads up",
    "m",
    LINK_OUTSIDE,
    *(symlink("l", "/"), symlink("m", "l/../..")),
)
evil_tar(
    "a hard link to a link that leads outside from there",
    "h",
    LINK_OUTSIDE,
    *(directory("d"), symlink("d/l", ".."), hardlink("h", "d/l")),
)
evil(
    "a target of a link that is no path by its length, in a zip",
    "l",
    "expected a link of at most 4096 bytes",
    lambda: make_zip(symlink("l", "x" * 5000)),
)
for target in ("/etc/passwd", "../archive", "later", ".", "d", "a/b", "s/x", "h"):
    before = (directory("d"), Entry("d/x"), FILE, symlink("s", "d"))
    evil_tar(
        f"a hard link to {target}", "h", HARDLINK, *before, hardlink("h", target), Entry("later")
    )
evil_tar(
    "a hard link in the place of a directory",
    "d",
    DUPLICATE,
    *(FILE, directory("d"), hardlink("d", "a")),
)
evil_tar(
    "a directory that is a hard link to itself", "d", HARDLINK, directory("d"), hardlink("d", "d")
)

# What is neither file nor directory nor link.
for kind, found in (
    (DEVICE, "a character device"),
    (BLOCK_DEVICE, "a block device"),
    (FIFO, "a fifo"),
    (b"S", "a sparse file of an unknown format"),
    (b"M", "a part of another archive's file"),
    (b"Z", "something of the unknown type b'Z'"),
):
    evil_tar(found, "x", f"{NO_FILE}, found {found}", Entry("x", type=kind), format=0)
for mode, what in (
    (stat.S_IFIFO, "a fifo"),
    (stat.S_IFCHR, "a character device"),
    (stat.S_IFBLK, "a block device"),
    (stat.S_IFSOCK, "a socket"),
):
    make = functools.partial(edit, make_zip(FILE), -22 - 47 + 38, "L", mode << 16)
    evil(f"{what}, in a zip", "a", NO_FILE, make)
for key in ("SCHILY.realsize", "SUN.holesdata"):
    evil(f"a sparse file by {key}", "a", SPARSE, raw(pax(record(key, b"1")), header(FILE)))
for version in (b"2", b"x"):
    evil(
        f"a sparse file of version {version.decode()}",
        "a",
        SPARSE,
        raw(pax(record("GNU.sparse.major", version)), header(FILE)),
    )
evil(
    "a part of a file of several archives, by pax",
    "a",
    f"{NO_FILE}, found a part of another archive's file",
    raw(pax(record("GNU.volume.filename", b"a"), b"g"), header(FILE)),
)


# Sparse files that are not what they say.
def sparse(numbers: str, size: str, content: bytes = b"x" * 512) -> Callable[[], bytes]:
    """A sparse file of format 0.1: offset and size of each part, and the size of all."""
    records = record("GNU.sparse.size", size.encode()) + record("GNU.sparse.map", numbers.encode())
    return raw(pax(records), header(Entry("a", content)))


def sparse_1(text: bytes, size: bytes = b"1024") -> Callable[[], bytes]:
    """One of format 1.0, with this content."""
    records = record("GNU.sparse.major", b"1") + record("GNU.sparse.minor", b"0")
    records += record("GNU.sparse.realsize", size)
    return raw(pax(records), header(Entry("a", text)))


def old_sparse(size: int, *numbers: int, more: bytes = b"") -> Callable[[], bytes]:
    """One of the old format, with further blocks of its map."""

    def edit(block: bytearray) -> None:
        block[257:265] = b"ustar  \0"
        fields = b"".join(b"%011o\0" % number for number in numbers)
        block[386 : 386 + len(fields)] = fields
        block[482] = bool(more)
        block[483:495] = b"\x80" + size.to_bytes(11, "big")

    data = header(Entry("a", b"x" * 512, b"S"), edit)
    return raw(data[:512], more, data[512:])


def old_map(blocks: int) -> bytes:
    """So many blocks of 21 parts, of which none is the last."""
    return (b"00000000000\0" * 42 + b"\1" + bytes(7)) * blocks


for what, make in {
    "end behind the file": sparse("512,512", "1023"),
    "are more than is there": sparse("0,512,512,1", "1024"),
    "are less than is there": sparse("0,511", "1024"),
    "have no size": sparse("0,512,512", "1024"),
    "are none": sparse("", "1024"),
    "are more than is there, in 1.0": sparse_1(b"1\n0\n513\n".ljust(512, b"\0") + b"x" * 512),
    "are more than is there, in the old format": old_sparse(1024, 0, 513),
    "end behind the file, in the old format": old_sparse(1023, 512, 512),
}.items():
    evil(f"a sparse file whose parts {what}", "a", SPARSE_SIZE, make)
for what, make in {
    "overlap": sparse("0,256,255,256", "1024"),
    "run backwards": sparse("512,256,0,256", "1024"),
    "overlap, in the old format": old_sparse(1024, 0, 256, 255, 256),
}.items():
    evil(f"a sparse file whose parts {what}", "a", SPARSE_ORDER, make)
for what, make in {
    "no map": sparse_1(b"x" * 2000),
    "a map without an end": sparse_1(b"9\n" + b"0\n" * 4 + b"0" * 2000),
    "a map that ends too early": sparse_1(b"2\n0\n1\n".ljust(512, b"\0")),
    "nothing": sparse_1(b""),
}.items():
    evil(f"a sparse file with {what} in its content", "a", SPARSE_MAP, make)
for what, make, found in (
    ("a size below 0", sparse("0,512", "-1"), "'-1'"),
    ("no size", raw(pax(record("GNU.sparse.map", b"0,6")), header(FILE)), "''"),
    ("a part below 0", sparse("-1,512", "1024"), "'-1'"),
    ("a map of words", sparse_1(b"1\na\nb\n"), "'a'"),
):
    evil(f"a sparse file with {what}", None, f"{DAMAGED}expected a size, found {found}", make)
evil(
    "a sparse file with numbers in the wrong order, in 0.0",
    None,
    DAMAGED + "a pax header that cannot be read",
    raw(pax(record("GNU.sparse.numbytes", b"6")), header(FILE)),
)

# Names that no program can work with.
for name in ("a\nb", "a\rb", "a\tb", "\x1b[2Ja", "a\x7f", "a\x85b", "a\u2028b"):
    evil_both(f"the name {name!r}", name, CONTROL, Entry(name, b"evil"))
evil(
    "NUL in a name, in a pax header",
    "a\0b",
    CONTROL,
    raw(pax(record("path", b"a\0b")), header(FILE)),
)
evil(
    "NUL in a name, in a zip",
    "a\0b",
    CONTROL,
    lambda: make_zip(Entry("a_b")).replace(b"a_b", b"a\0b"),
)
evil(
    "a name that cannot be decoded, in a tar",
    "\\xff\\xfe",
    NO_UTF8,
    raw(header(Entry("xx"), lambda block: block.__setitem__(slice(0, 2), b"\xff\xfe"))),
)
evil(
    "a name that cannot be decoded, in a pax header",
    "\\xff",
    NO_UTF8,
    raw(pax(record("path", b"\xff")), header(FILE)),
)
evil(
    "a surrogate in a name, in a zip that says UTF-8",
    "\\xed\\xa0\\x80",
    NO_UTF8,
    lambda: make_zip(Entry("日")).replace("日".encode(), b"\xed\xa0\x80"),
)

# Members of one name.
for first, second, message in (
    (directory("a"), FILE, DUPLICATE),
    (FILE, directory("a"), "a duplicate of an earlier file"),
    (FILE, Entry("a/b"), "expected a directory above, found a file"),
    (FILE, directory("a/b"), "a duplicate of an earlier file"),
):
    old, name = (e.name + "/" * (e.type == tarfile.DIRTYPE) for e in (first, second))
    evil_both(f"{old!r} and then {name!r}", name, message, first, second)


# Names as Windows has them.
def windows_zip(name: str) -> bytes:
    """A zip of a program that has backslashes between directories."""
    data = make_zip(Entry(name, b"evil"))
    return edit(data, data.index(b"PK\1\2") + 4, "H", 20)  # made on FAT


for name, shown, message in (
    ("..\\evil", "../evil", UP),
    ("a\\..\\..\\evil", "a/../../evil", UP),
    ("\\tmp\\evil", "/tmp/evil", ABSOLUTE),
    ("\\\\host\\share", "//host/share", ABSOLUTE),
):
    evil(
        f"the path {name}, in a zip of Windows",
        shown,
        message,
        functools.partial(windows_zip, name),
    )

# What lies about itself.
ONE = make_zip(FILE, method=zipfile.ZIP_STORED)
PACKED = make_zip(Entry("a", b"honest" * 100))
TWO = make_zip(Entry("a", random.Random(0).randbytes(1000)), Entry("b"))
CENTRAL, CENTRAL_PACKED = ONE.index(b"PK\1\2"), PACKED.index(b"PK\1\2")


def lying(what: str, message: str, data: bytes, at: int, form: str, value: int) -> None:
    """Add a zip with a number that is changed."""
    member = None if message.startswith("the zip") else "a"
    evil(f"a zip with {what}", member, message, functools.partial(edit, data, at, form, value))


lying("more content than it says", CONTENT, ONE, CENTRAL + 24, "L", 3)
lying("less content than it says", CONTENT, ONE, CENTRAL + 24, "L", 1000)
lying("more content than it says, deflated", CONTENT, PACKED, CENTRAL_PACKED + 24, "L", 3)
lying("a wrong checksum", CONTENT, ONE, CENTRAL + 16, "L", 1)
lying("encryption", "expected no encryption", ONE, CENTRAL + 8, "H", 1)
lying(
    "an unknown method", "expected stored or deflated, found method 14", ONE, CENTRAL + 10, "H", 14
)
lying(
    "a member elsewhere",
    "it is not where the directory of the archive has it",
    *(make_zip(Entry("_" * 30), FILE), make_zip(Entry("_" * 30), FILE).rindex(b"PK\1\2") + 42),
    *("L", 0),
)
lying(
    "members that it does not count",
    "the zip archive is damaged: its directory has another size than it says",
    *(TWO, -12, "H", 1),
)
lying("a directory far away", "the zip archive is cut short", ONE, -6, "L", 10**9)
evil(
    "a zip with members that share their content",
    "b",
    "it overlaps another member",
    lambda: edit(TWO, TWO.rindex(b"PK\1\2") + 20, "L", 1000),
)
evil(
    "a zip with other names at the members",
    "a",
    "it is not where the directory of the archive has it",
    lambda: ONE[:30] + b"b" + ONE[31:],
)
evil("a zip without its end", None, "the zip archive is cut short: it has no directory at its end",
     lambda: ONE[:-10])  # fmt: skip
evil(
    "a zip of several disks",
    None,
    "expected a zip archive in one file, found one of several disks",
    lambda: edit(ONE, -18, "H", 1),
)
evil("a tar that ends in a header", None, CUT, lambda: header(FILE) + header(FILE)[:300])
evil("a tar that ends in a file", None, CUT, lambda: header(FILE)[:515])
evil("a tar that ends in a header of pax", None, CUT, lambda: pax(record("path", b"a")))
evil(
    "a sparse file that ends in its map",
    None,
    CUT,
    lambda: old_sparse(9, 0, 9, more=old_map(1))()[:1024],
)
evil(
    "a tar with a wrong checksum",
    None,
    DAMAGED + "wrong checksum of a header",
    raw(header(FILE), b"x" * 512),
)
evil(
    "a size below zero",
    None,
    DAMAGED + "expected a number, found " + repr(b"\xff" * 12),
    raw(header(FILE, lambda block: block.__setitem__(slice(124, 136), b"\xff" * 12))),
)
evil(
    "a size below zero, in a pax header",
    None,
    DAMAGED + "expected a size, found '-1'",
    raw(pax(record("size", b"-1")), header(FILE)),
)
evil(
    "a pax header without sense",
    None,
    DAMAGED + "a pax header that cannot be read",
    raw(pax(b"99 a=b\n"), header(FILE)),
)
evil("gzip data that are cut", None, "the gzip data is cut short",
     lambda: make_tar(FILE, compression="gz")[:-4])  # fmt: skip


# What is too much.
def swelling(compress: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """A tar whose only file is 8 GiB of zeros, of which 8 MiB are there."""

    def make() -> bytes:
        block = header(Entry("zeros"), lambda block: set_size(block, 8 * 1024**3 - 1))
        return compress(block) + compress(ZEROS)

    return make


def zip_bomb() -> bytes:
    """A zip whose only file is 72 MiB of zeros, of which 8 are there."""
    data = make_zip(Entry("zeros", ZEROS))
    return edit(data, data.rindex(b"PK\1\2") + 24, "L", 9 * len(ZEROS))


def padded(compress: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    """An honest tar, and zeros behind its end."""
    return lambda: compress(make_tar(FILE)) + compress(ZEROS) * 9


def xz_of_large_dictionary(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 * 1024**2}]
    return lzma.compress(data, filters=filters)


def xz_of_huge_dictionary() -> bytes:
    """Its memory is asked for by 100 bytes of input."""
    data = bytearray(lzma.compress(b"x"))
    end = 12 + data[12] * 4  # of the block header, behind that of the stream
    data[data.index(b"\x21\x01", 12, end) + 2] = 40  # LZMA2: a dictionary of 4 GiB
    data[end : end + 4] = zlib.crc32(data[12:end]).to_bytes(4, "little")
    return bytes(data)


def large_header(kind: bytes) -> bytes:
    """A header of 300 MiB, of which 8 are there."""
    block = header(Entry("x", type=kind), lambda block: set_size(block, 300 * 1024**2))
    return gzip.compress(block + ZEROS, 1)


FAST: dict[str, Callable[[bytes], bytes]] = {
    "gzip": functools.partial(gzip.compress, compresslevel=1),
    "bzip2": bz2.compress,
    "xz": functools.partial(lzma.compress, preset=0),
}
for name, compress in FAST.items():
    too_much(f"a bomb of {name}", "zeros", SWELLING, swelling(compress))
    too_much(f"zeros behind the end, in {name}", None, PADDING, padded(compress))
    too_much(
        f"thousands of streams, in {name}",
        None,
        f"expected at most 50 {name} streams, found more",
        functools.partial(lambda compress: compress(make_tar(FILE)) + compress(b"") * 60, compress),
    )
    too_much(
        f"{name} in {name}",
        None,
        f"expected a tar archive inside {name}, found {name} data: it is compressed twice",
        functools.partial(lambda compress: compress(compress(make_tar(FILE))), compress),
    )
too_much(
    "xz with a large dictionary that is used",
    None,
    PADDING,
    lambda: xz_of_large_dictionary(make_tar(FILE) + ZEROS * 9),
)
evil(
    "xz with a huge dictionary",
    None,
    "the xz data cannot be read: Memory usage limit exceeded",
    xz_of_huge_dictionary,
)
too_much("a bomb of zip", "zeros", SWELLING, zip_bomb)
for what, make in {
    "0.1": sparse("0,512", "9" * 19),
    "1.0": sparse_1(b"1\n0\n512\n".ljust(512, b"\0") + b"x" * 512, b"9" * 19),
    "the old format": old_sparse(1 << 62, 0, 512),
}.items():
    too_much(f"a sparse file of exabytes, in {what}", "a", SWELLING, make)
for what, make in {
    "0.1": sparse(",".join(["0"] * 131_076), "0", b""),
    "1.0": sparse_1(b"65537\n"),
    "the old format": old_sparse(0, *[0] * 8, more=old_map(3121)),
}.items():
    too_much(f"a sparse file of too many parts, in {what}", "a", PARTS, make)
too_much(
    "sparse files of many parts",
    "a",
    HEADERS,
    old_sparse(512, *[0] * 7, 512, more=old_map(3000) + bytes(512)),
)
too_much("a volume label of 300 MiB", "x", HEADERS, lambda: large_header(b"V"))
too_much("a pax header of 300 MiB", "x", HEADERS, lambda: large_header(b"x"))
too_much("a long name of 300 MiB", "x", HEADERS, lambda: large_header(b"L"))
too_much(
    "pax headers without end",
    "x",
    HEADERS,
    lambda: gzip.compress(pax(record("comment", b"x" * 1000)) * 2000),
)
too_much(
    "a pax header of many lines",
    "x",
    HEADERS,
    lambda: gzip.compress(pax(record("a", b"b") * 20_000)),
)
too_much(
    "too many files, in a tar", "50", MEMBERS, lambda: make_tar(*(Entry(f"{n}") for n in range(51)))
)
too_much(
    "too many files, in a zip",
    None,
    "expected at most 50 members in the archive, found 51",
    lambda: make_zip(*(Entry(f"{n}") for n in range(51))),
)
too_much(
    "too many directories that are only implied",
    "12/a",
    MEMBERS,
    lambda: make_tar(*(Entry(f"{n}/a/b/c") for n in range(13))),
)
too_much(
    "the top again and again", "./", MEMBERS, lambda: make_tar(*(directory(".") for _ in range(51)))
)
for name, message in (
    ("a/b/c/d/e/f", "expected at most 5 levels"),
    ("n" * 256, PATH),
    ("a/" + "é" * 128, PATH),
    ("a/" * 3 + "n" * 250 + "/" + "n" * 50, PATH),
):
    shown = name if len(name) <= 100 else name[:100] + "…"
    for kind_name, maker in (("tar", make_tar), ("zip", make_zip)):
        too_much(
            f"a path of {len(name)} characters, in a {kind_name}",
            shown,
            message,
            functools.partial(maker, Entry(name)),
        )
too_much(
    "a file of 8 EiB",
    "a",
    SWELLING,
    raw(
        header(
            FILE,
            lambda block: block.__setitem__(
                slice(124, 136), b"\x80" + struct.pack(">3xQ", 1 << 63)
            ),
        )
    ),
)

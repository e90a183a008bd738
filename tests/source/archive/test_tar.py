"""Tar archives of all kinds, and damaged ones."""

from __future__ import annotations

import io
import itertools
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import SourceError
from tests.source.archives import (
    END,
    Entry,
    hardlink,
    header,
    make_tar,
    pax,
    record,
    set_size,
    symlink,
)

from .unpacking import tree, unpack_bytes


def test_a_long_name_may_be_in_two_parts(tmp_path: Path) -> None:
    """The prefix of ustar; and the size in a pax header wins."""
    name = "d" * 90 + "/" + "f" * 90
    data = pax(record("size", b"1")) + make_tar(Entry(name, b"x"), format=tarfile.USTAR_FORMAT)
    assert tree(unpack_bytes(data, tmp_path))[name] == (0o644, b"x")


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_are_read(format: int, tmp_path: Path) -> None:  # noqa: A002
    """Those that have no place in the header."""
    name, target = "d" * 120 + "/" + "f" * 120, "t" * 150
    app = unpack_bytes(make_tar(Entry(name), symlink("l", target), format=format), tmp_path)
    assert {name, "l"} <= set(tree(app))
    assert tree(app)["l"] == target


def test_the_tar_of_git_and_of_the_system_are_read(tmp_path: Path) -> None:
    """What the field's programs write, not only Python."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "Procfile").write_text("web: run")
    (source / "sub" / "run").symlink_to("Procfile")
    done = subprocess.run(["tar", "-cz", "sub"], cwd=source, check=True, capture_output=True)
    app = unpack_bytes(done.stdout, tmp_path)
    assert set(tree(app)) == {"sub", "sub/Procfile", "sub/run"}


def test_a_global_header_is_no_member(tmp_path: Path) -> None:
    """Archives of GitHub begin with the name of the commit."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", pax_headers={"comment": "c0ffee"}) as tar:
        tar.addfile(tarfile.TarInfo("repo-c0ffee/Procfile"))
    app = unpack_bytes(buffer.getvalue(), tmp_path)
    assert set(tree(app)) == {"repo-c0ffee", "repo-c0ffee/Procfile"}


def old_header(block: bytearray) -> None:
    block[257:265] = bytes(8)


def test_old_tar_archives_are_read(tmp_path: Path) -> None:
    """Without magic; a slash at the end makes a directory."""
    block = header(Entry("d/", mode=0o755), old_header)
    data = block + header(Entry("d/f", b"x"), old_header) + END
    assert tree(unpack_bytes(data, tmp_path)) == {"d": 0o755, "d/f": (0o644, b"x")}


def signed_sum(data: bytes) -> bytes:
    block = bytearray(data)
    total = sum(b" " * 8) + sum(struct.unpack("512b", block)) - sum(block[148:156])
    block[148:156] = b"%06o\0 " % total
    return bytes(block)


def test_numbers_and_sums_of_other_programs_are_read(tmp_path: Path) -> None:
    """Base 256 for the size, and a checksum of signed bytes."""

    def size(block: bytearray) -> None:
        block[124:136] = b"\x80" + (3).to_bytes(11, "big")

    data = header(Entry("a"), size) + b"abc" + bytes(509)
    data += signed_sum(
        header(Entry("b"), lambda block: block.__setitem__(slice(0, 2), "é".encode()))
    )
    assert tree(unpack_bytes(data + END, tmp_path)) == {"a": (0o644, b"abc"), "é": (0o644, b"")}


def test_an_archive_may_have_no_end(tmp_path: Path) -> None:
    """Some programs write none; what comes last is whole, all the same."""
    data = header(Entry("a", b"x")) + header(Entry("b", b"y"))
    assert tree(unpack_bytes(data, tmp_path)) == {"a": (0o644, b"x"), "b": (0o644, b"y")}


def test_a_volume_label_and_a_list_of_files_are_no_files(tmp_path: Path) -> None:
    """As GNU tar has them in labelled and in incremental archives."""
    label, listed = Entry("label", type=b"V"), Entry("d/", b"Yf\0\0", b"D", mode=0o755)
    data = header(label) + header(listed) + header(Entry("d/f", b"x")) + END
    assert tree(unpack_bytes(data, tmp_path)) == {"d": 0o755, "d/f": (0o644, b"x")}


def linked(magic: bytes, content: bytes, *, size: int) -> bytes:
    """A hard link that says so many bytes follow, and what follows."""

    def change(block: bytearray) -> None:
        block[257:265] = magic
        set_size(block, size)

    return header(hardlink("h", "a"), change) + content


USTAR, GNU, OLD = b"ustar\x0000", b"ustar  \0", bytes(8)
BODY = b"x" * 512
NEXT = header(Entry("b"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (linked(USTAR, BODY + NEXT, size=512), BODY),
        (linked(USTAR, NEXT, size=512), b"a"),
        (linked(USTAR, b"", size=512), b"a"),
        (pax(record("comment", b"x")) + linked(USTAR, NEXT, size=512), NEXT[:512]),
        (linked(GNU, NEXT, size=512), b"a"),
        (linked(OLD, NEXT, size=512), b"a"),
        (linked(USTAR, NEXT, size=0), b"a"),
    ],
    ids=["content", "none", "end", "pax", "gnu", "old", "empty"],
)
def test_a_hard_link_may_come_with_content(data: bytes, expected: bytes, tmp_path: Path) -> None:
    """In pax; others say a size, too, and mean nothing by it."""
    app = unpack_bytes(header(Entry("a", b"a")) + data + END, tmp_path)
    assert (app / "h").samefile(app / "a")
    assert (app / "a").read_bytes() == expected


def test_the_content_of_hard_links_counts(tmp_path: Path) -> None:
    body = b"x" * 700_000 + bytes(-700_000 % 512)
    data = linked(USTAR, body + NEXT, size=700_000)
    with pytest.raises(SourceError, match="'h' in the archive: expected at most 1000000 bytes"):
        unpack_bytes(header(Entry("a", b"x" * 400_000)) + data + END, tmp_path)


def sparse_0(*records: bytes, content: bytes) -> bytes:
    return pax(b"".join(records)) + header(Entry("GNUSparseFile.0/x", content))


def sparse_records(*numbers: bytes) -> bytes:
    keys = itertools.cycle(["GNU.sparse.offset", "GNU.sparse.numbytes"])
    return b"".join(map(record, keys, numbers))


NAME, SIZE = record("GNU.sparse.name", b"a"), record("GNU.sparse.size", b"1500")
VERSION_1 = record("GNU.sparse.major", b"1") + record("GNU.sparse.minor", b"0")
REAL = record("GNU.sparse.realsize", b"1500")


def old_sparse(parts: list[int], content: bytes, size: int) -> bytes:
    """Of the old format; further blocks for more than four parts."""

    def change(block: bytearray) -> None:
        block[257:265] = b"ustar  \0"
        block[386 : 386 + 12 * len(parts[:8])] = b"".join(b"%011o\0" % n for n in parts[:8])
        block[482] = len(parts) > 8
        block[483:495] = b"%011o\0" % size

    more = b"".join(b"%011o\0" % number for number in parts[8:])
    blocks = [
        (more[at : at + 504].ljust(504, b"\0") + bytes([at + 504 < len(more)])).ljust(512, b"\0")
        for at in range(0, len(more), 504)
    ]
    data = header(Entry("a", content, b"S"), change)
    return data[:512] + b"".join(blocks) + data[512:]


@pytest.mark.parametrize(
    "data",
    [
        sparse_0(NAME, SIZE, sparse_records(b"0", b"1", b"1000", b"2"), content=b"abc"),
        sparse_0(NAME, SIZE, record("GNU.sparse.map", b"0,1,1000,2,1500,0"), content=b"abc"),
        sparse_0(NAME, VERSION_1, REAL, content=b"2\n0\n1\n1000\n2\n".ljust(512, b"\0") + b"abc"),
        old_sparse([0, 1, 1000, 2], b"abc", 1500),
    ],
    ids=["0.0", "0.1", "1.0", "old"],
)
def test_a_sparse_file_comes_out_with_its_holes(data: bytes, tmp_path: Path) -> None:
    """Its parts where they belong, and zeros between them."""
    app = unpack_bytes(data + header(Entry("b", b"y")) + END, tmp_path)
    expected = (b"a" + bytes(999) + b"bc").ljust(1500, b"\0")
    assert tree(app) == {"a": (0o644, expected), "b": (0o644, b"y")}


@pytest.mark.parametrize("count", [4, 5, 25, 26, 60])
def test_a_sparse_file_of_the_old_format_may_have_many_parts(count: int, tmp_path: Path) -> None:
    """Four are in its header, and 21 in each block behind it."""
    parts = [number for n in range(count) for number in (n * 1000, 1)]
    data = old_sparse(parts, b"x" * count, 1000 * count)
    app = unpack_bytes(data + END, tmp_path)
    assert (app / "a").read_bytes() == (b"x" + bytes(999)) * count


def test_a_hole_takes_no_place(tmp_path: Path) -> None:
    """Where the disk has holes."""
    limits = SourceLimits(unpacked_bytes=1 << 30)
    records = record("GNU.sparse.map", b"1,1") + record("GNU.sparse.size", b"60000000")
    app = unpack_bytes(sparse_0(NAME, records, content=b"a") + END, tmp_path, limits)
    status = (app / "a").stat()
    assert status.st_size == 60_000_000
    assert status.st_blocks * 512 < 1_000_000


def test_a_map_of_many_blocks_is_read(tmp_path: Path) -> None:
    """Of the format that bsdtar writes."""
    text = b"200\n" + b"".join(b"%d\n1\n" % (n * 10) for n in range(200))
    content = text + bytes(-len(text) % 512) + b"x" * 200
    app = unpack_bytes(sparse_0(NAME, VERSION_1, record("GNU.sparse.realsize", b"2000"),
                                content=content) + END, tmp_path)  # fmt: skip
    assert (app / "a").read_bytes() == (b"x" + bytes(9)) * 200


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (pax(b"garbage"), "a pax header that cannot be read"),
        (pax(b"3 a\n"), "a pax header that cannot be read"),
        (pax(b"99 a=b\n"), "a pax header that cannot be read"),
        (pax(record("a", b"b") + b"0 a=b\n"), "a pax header that cannot be read"),
        (pax(record("a", b"b")[:-1] + b"x"), "a pax header that cannot be read"),
        (pax(b"9" * 30 + b" a=b\n"), "a pax header that cannot be read"),
        (pax(record("size", b"-1")) + header(Entry("a")), "expected a size, found '-1'"),
        (pax(record("path", b"\xff")) + header(Entry("a")), "expected a name in UTF-8"),
        (pax(record("path", b"a\0b")) + header(Entry("a")), "without control characters"),
        (pax(record("GNU.sparse.major", b"2")) + header(Entry("a")), "found a sparse file"),
        (pax(record("SCHILY.realsize", b"1")) + header(Entry("a")), "found a sparse file"),
        (header(Entry("a"), lambda b: b.__setitem__(slice(124, 136), b"x" * 12)), "a number"),
        (header(Entry("a"), lambda b: b.__setitem__(124, 255)), "a number"),
        (header(Entry("a", b"x"))[:512], "cut short"),
        (header(Entry("a", b"x"))[:600], "cut short"),
        (pax(record("path", b"b")), "cut short"),
        (header(Entry("a")) + b"x" * 512, "wrong checksum of a header"),
    ],
)
def test_a_damaged_tar_is_refused(data: bytes, why: str, tmp_path: Path) -> None:
    """Whatever is wrong in its headers."""
    with pytest.raises(SourceError, match=why):
        unpack_bytes(
            make_tar(Entry("first"))[:512] + data + (END if "cut" not in why else b""), tmp_path
        )

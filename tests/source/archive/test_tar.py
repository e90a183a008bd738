"""Tar archives of all kinds, and damaged ones."""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from smartmob_agent.errors import SourceError
from tests.source.archives import (
    END,
    Entry,
    header,
    make_tar,
    pax,
    record,
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
        (pax(record("GNU.sparse.major", b"1")) + header(Entry("a")), "found a sparse file"),
        (pax(record("SCHILY.realsize", b"1")) + header(Entry("a")), "found a sparse file"),
        (header(Entry("a"), lambda b: b.__setitem__(slice(124, 136), b"x" * 12)), "a number"),
        (header(Entry("a"), lambda b: b.__setitem__(124, 255)), "a number"),
        (header(Entry("a", b"x"))[:512], "cut short"),
        (header(Entry("a", b"x"))[:600], "cut short"),
        (header(Entry("a", b"x")), "cut short"),
        (header(Entry("a")) + b"x" * 512, "wrong checksum of a header"),
    ],
)
def test_a_damaged_tar_is_refused(data: bytes, why: str, tmp_path: Path) -> None:
    """Whatever is wrong in its headers."""
    with pytest.raises(SourceError, match=why):
        unpack_bytes(
            make_tar(Entry("first"))[:512] + data + (END if "cut" not in why else b""), tmp_path
        )

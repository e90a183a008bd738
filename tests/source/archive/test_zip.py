"""Zip archives of all kinds, and damaged ones."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from smartmob_agent.errors import DownloadError, UnpackError
from tests.source.archives import (
    Entry,
    edit,
    make_zip,
    symlink,
)

from .unpacking import tree, unpack_bytes


def patched(data: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    assert old in data
    return data.replace(old, new, count)


ONE = make_zip(Entry("name", b"content"), method=zipfile.ZIP_STORED)
DEFLATED = make_zip(Entry("name", b"content" * 100))
CENTRAL = ONE.index(b"PK\1\2")


def test_a_zip_directory_may_be_one_by_its_name_only(tmp_path: Path) -> None:
    """As programs write it that know no modes."""
    data = make_zip(Entry("a/b/"), Entry("a/c/"))
    data = edit(data, data.index(b"PK\1\2") + 38, "L", 0)
    app = unpack_bytes(data, tmp_path)
    assert tree(app) == {"a": 0o755, "a/b": 0o755, "a/c": 0o744}


def test_comments_and_extra_fields_are_skipped(tmp_path: Path) -> None:
    """Of a zip archive and its members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("a", "b"):
            info = zipfile.ZipInfo(name)
            info.comment, info.extra = b"comment", struct.pack("<2HL", 0x9999, 4, 0)
            archive.writestr(info, b"x")
        archive.comment = b"of all"
    assert list(tree(unpack_bytes(buffer.getvalue(), tmp_path))) == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (ONE[:-1], "cut short|damaged"),
        (ONE[:10], "cut short: it has no directory"),
        (ONE[: CENTRAL + 10], "cut short: it has no directory"),
        (edit(ONE, CENTRAL, "L", 0), "no entry where one should be"),
        (edit(ONE, CENTRAL + 8, "H", 1), "'name' in the archive: expected no encryption"),
        (edit(ONE, CENTRAL + 10, "H", 14), "expected stored or deflated, found method 14"),
        (edit(ONE, CENTRAL + 16, "L", 0), "has not the size and checksum"),
        (edit(ONE, CENTRAL + 24, "L", 6), "has not the size and checksum"),
        (edit(ONE, CENTRAL + 24, "L", 8), "has not the size and checksum"),
        (edit(ONE, CENTRAL + 20, "L", 10**6), "it overlaps another member"),
        (edit(edit(ONE, CENTRAL + 20, "L", len(ONE)), CENTRAL + 24, "L", len(ONE)), "cut short"),
        (edit(DEFLATED, DEFLATED.index(b"PK\1\2") + 20, "L", 5), "has not the size and checksum"),
        (
            edit(ONE, CENTRAL + 42, "L", 5),
            "is not where the directory of the archive has it|cut short",
        ),
        (edit(ONE, CENTRAL + 42, "L", 10**6), "cut short"),
        (edit(ONE, CENTRAL + 42, "L", 0xFFFFFFFF), "cut short"),
        (
            patched(ONE, b"name", b"other"[:4], 1),
            "is not where the directory of the archive has it",
        ),
        (edit(ONE, len(ONE) - 6, "L", 10**6), "cut short"),
        (edit(ONE, len(ONE) - 12, "H", 2), "cut short|no entry"),
        (edit(ONE, len(ONE) - 10, "L", 1), "its directory has another size than it says"),
        (edit(make_zip(Entry("a"), Entry("b")), -12, "H", 1), "another size than it says"),
        (edit(ONE, len(ONE) - 18, "H", 1), "one of several disks"),
        (edit(ONE, len(ONE) - 6, "L", 0xFFFFFFFF), "no zip64 directory"),
        (edit(DEFLATED, 34, "L", 0xFFFFFFFF), "cannot be inflated"),
        (make_zip(symlink("l", "x" * 5000)), "expected a link of at most 4096 bytes"),
        (patched(make_zip(Entry("é")), "é".encode(), b"\xff\xff"), "expected a name in UTF-8"),
    ],
)
def test_a_damaged_zip_is_refused(data: bytes, why: str, tmp_path: Path) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(UnpackError, match=why):
        unpack_bytes(data, tmp_path)


def test_a_zip_without_modes_has_those_of_new_files(tmp_path: Path) -> None:
    """As programs of other systems write them; names are UTF-8 in practice, or by the book."""
    data = edit(ONE, CENTRAL + 38, "L", 0)
    data = data.replace(b"name", b"n\xc3\xa9.")
    assert tree(unpack_bytes(data, tmp_path)) == {"né.": (0o644, b"content")}


def test_a_zip_name_that_is_no_utf8_is_read_by_the_book(tmp_path: Path) -> None:
    """Code page 437, where 0x82 is é."""
    data = ONE.replace(b"name", b"n\x82.x")
    assert tree(unpack_bytes(data, tmp_path)) == {"né.x": (0o644, b"content")}


def test_a_zip64_archive_is_read(tmp_path: Path) -> None:
    """Sizes and offsets in the extra part, and the directory's own record."""
    extra = struct.pack("<2HL", 0x9999, 4, 0) + struct.pack("<2H3Q", 1, 24, 7, 7, 0)
    local, central, end = ONE[:CENTRAL], ONE[CENTRAL:-22], ONE[-22:]
    for at in (20, 24, 42):
        central = edit(central, at, "L", 0xFFFFFFFF)
    central = edit(central, 30, "H", len(extra)) + extra
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(central), CENTRAL)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, CENTRAL + len(central), 1)
    end = edit(edit(end, 10, "H", 0xFFFF), 16, "L", 0xFFFFFFFF)
    app = unpack_bytes(local + central + record + locator + end, tmp_path)
    assert tree(app) == {"name": (0o644, b"content")}
    broken = local + central + record.replace(b"PK\6\6", b"PK\6\5") + locator + end
    with pytest.raises(UnpackError, match="no zip64 directory"):
        unpack_bytes(broken, tmp_path / "outer")
    far = local + central + record + edit(locator, 8, "Q", 1 << 63) + end
    with pytest.raises(UnpackError, match="an offset outside"):
        unpack_bytes(far, tmp_path / "outer" / "outer")


@pytest.mark.parametrize("host", [0, 10, 11, 14])
def test_backslashes_of_windows_are_slashes(host: int, tmp_path: Path) -> None:
    """As PowerShell and old .NET write them between directories; one at the end makes one."""
    data = make_zip(Entry("d\\e\\"), Entry("d\\e\\f", b"x"))
    at = data.index(b"PK\1\2")
    for place in (at, data.index(b"PK\1\2", at + 1)):
        data = edit(edit(data, place + 4, "H", host << 8 | 20), place + 38, "L", 0)
    assert tree(unpack_bytes(data, tmp_path)) == {"d": 0o755, "d/e": 0o755, "d/e/f": (0o644, b"x")}


def test_backslashes_of_others_are_characters(tmp_path: Path) -> None:
    """On Unix a name may have them."""
    assert list(tree(unpack_bytes(make_zip(Entry("a\\b")), tmp_path))) == ["a\\b"]


def zip64(front: int, *, counted: int) -> bytes:
    """A zip64 archive behind so many bytes, of which its offsets count some."""
    start = CENTRAL + counted
    central = edit(ONE[CENTRAL:-22], 42, "L", counted)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(central), start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + len(central), 1)
    end = edit(edit(ONE[-22:], 10, "H", 0xFFFF), 16, "L", 0xFFFFFFFF)
    return b"#" * front + ONE[:CENTRAL] + central + record + locator + end


def adjusted(data: bytes, front: bytes) -> bytes:
    """With offsets that count what is in front, as `zip -A` makes them."""
    at = data.index(b"PK\1\2")
    data = edit(data, at + 42, "L", len(front))
    return front + edit(data, -6, "L", at + len(front))


@pytest.mark.parametrize(
    "data",
    [
        b"#!/usr/bin/env python3\n" + ONE,
        b"MZ" + bytes(70_000) + ONE,
        adjusted(ONE, b"#!/bin/sh\nexit\n"),
        b"PK\7\x08" + ONE,
        b"PK00" + ONE,
        DEFLATED + ONE,
        ONE + b"\n",
        zip64(0, counted=0),
        zip64(100, counted=0),
        zip64(100, counted=100),
    ],
    ids=[
        *("script", "program", "adjusted", "split", "split by PK", "zip", "behind"),
        *("zip64", "zip64 behind something", "zip64 adjusted"),
    ],
)
def test_something_may_be_around_a_zip(data: bytes, tmp_path: Path) -> None:
    """What is at its end counts, as with all programs."""
    assert tree(unpack_bytes(data, tmp_path)) == {"name": (0o644, b"content")}


def test_what_only_mentions_a_zip_is_none(tmp_path: Path) -> None:
    """An end without a directory, or an empty one."""
    for data in (b"<html>" + ONE[-22:], b"<html>" + make_zip()):
        with pytest.raises(
            DownloadError, match="expected a zip or tar archive, found an HTML page"
        ):
            unpack_bytes(data, tmp_path)
        (tmp_path / "outer" / "app").rmdir()
        (tmp_path / "outer").rmdir()


def test_a_deflated_stream_that_ends_early_is_refused(tmp_path: Path) -> None:
    """What is behind its end is not read."""
    bomb = zlib.compressobj(wbits=-15)
    packed = bomb.compress(b"x") + bomb.flush()
    data = make_zip(Entry("name", random.Random(0).randbytes(200_000)))
    start = 30 + 4
    data = data[:start] + packed + data[start + len(packed) :]
    with pytest.raises(UnpackError, match="has not the size and checksum"):
        unpack_bytes(data, tmp_path)

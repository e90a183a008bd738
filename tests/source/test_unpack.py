"""Unpacking: honest archives whole, evil ones refused with nothing outside."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartmob_agent.config import SourceLimits
from smartmob_agent.errors import DownloadError, SourceError, UnpackError
from smartmob_agent.source.removal import remove_tree
from smartmob_agent.source.unpack import check_archive, unpack

from .archives import (
    BLOCK_DEVICE,
    DEVICE,
    FIFO,
    Entry,
    directory,
    hardlink,
    header,
    make_tar,
    make_zip,
    symlink,
)

LIMITS = SourceLimits(
    members=50, unpacked_bytes=1_000_000, path_bytes=300, path_depth=5, archive_bytes=1_000_000
)
END = bytes(1024)


def unpack_bytes(data: bytes, tmp_path: Path, limits: SourceLimits = LIMITS) -> Path:
    archive, app = tmp_path / "archive", tmp_path / "outer" / "app"
    archive.write_bytes(data)
    app.mkdir(parents=True)
    unpack(archive, app, limits, lambda: None)
    return app


def tree(app: Path) -> dict[str, object]:
    """Path → mode and content, target, or mode of a directory."""
    found: dict[str, object] = {}
    for path in sorted(app.rglob("*")):
        name = str(path.relative_to(app))
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_dir():
            found[name] = mode
        else:
            found[name] = (mode, path.read_bytes())
    return found


APP = (
    directory("app"),
    Entry("app/Procfile", b"web: run"),
    Entry("app/é/run", b"x" * 100_000, mode=0o755),
    directory("app/private", mode=0o7722),
    Entry("app/open", b"", mode=0o7777),
    Entry("app/closed", b"", mode=0o000),
    symlink("app/link", "../app/./é//run"),
)
EXPECTED = {
    "app": 0o755,
    "app/Procfile": (0o644, b"web: run"),
    "app/é": 0o755,
    "app/é/run": (0o755, b"x" * 100_000),
    "app/private": 0o700,
    "app/open": (0o755, b""),
    "app/closed": (0o600, b""),
    "app/link": "../app/é/run",
}


@pytest.mark.parametrize(
    "data",
    [
        make_tar(*APP),
        make_tar(*APP, format=tarfile.GNU_FORMAT),
        make_tar(*APP, format=tarfile.USTAR_FORMAT),
        make_tar(*APP, compression="gz"),
        make_tar(*APP, compression="bz2"),
        make_tar(*APP, compression="xz"),
        make_zip(*APP),
        make_zip(*APP, method=zipfile.ZIP_STORED),
    ],
    ids=["pax", "gnu", "ustar", "gz", "bz2", "xz", "zip", "stored"],
)
def test_an_honest_archive_comes_out_whole(data: bytes, tmp_path: Path) -> None:
    """With execute bits, and without those that give rights to others."""
    umask = os.umask(0)
    try:
        app = unpack_bytes(data, tmp_path)
    finally:
        os.umask(umask)
    assert tree(app) == EXPECTED


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_a_large_file_that_does_not_shrink_comes_out_whole(
    make: Callable[..., bytes], tmp_path: Path
) -> None:
    """In many pieces."""
    content = random.Random(0).randbytes(600_000)
    assert tree(unpack_bytes(make(Entry("a", content)), tmp_path)) == {"a": (0o644, content)}


def test_a_zip_directory_may_be_one_by_its_name_only(tmp_path: Path) -> None:
    """As programs write it that know no modes."""
    data = make_zip(Entry("a/b/"), Entry("a/c/"))
    data = edit(data, data.index(b"PK\1\2") + 38, "L", 0)
    app = unpack_bytes(data, tmp_path)
    assert tree(app) == {"a": 0o755, "a/b": 0o755, "a/c": 0o744}


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


@pytest.mark.slow
def test_any_number_of_directories_comes_out(tmp_path: Path) -> None:
    """In any order."""
    names = [*(f"d{n}/f" for n in range(1001)), "d0/g"]
    app = unpack_bytes(make_tar(*map(Entry, names)), tmp_path, SourceLimits())
    assert {str(path.relative_to(app)) for path in app.glob("*/*")} == set(names)


def test_hard_links_are_kept(tmp_path: Path) -> None:
    """To an earlier file inside."""
    app = unpack_bytes(make_tar(Entry("a/b", b"x"), hardlink("c/d", "./a/b")), tmp_path)
    assert (app / "a/b").samefile(app / "c/d")


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


@pytest.mark.parametrize("data", [make_zip(), make_tar(), bytes(10240)])
def test_an_empty_archive_is_one(data: bytes, tmp_path: Path) -> None:
    """It only has no Procfile."""
    assert tree(unpack_bytes(data, tmp_path)) == {}


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
    ("data", "found"),
    [
        (b"", "nothing"),
        (b" \n<!DOCTYPE html><p>", "an HTML page"),
        (b"<html>", "an HTML page"),
        (b"<?xml?>", "an XML document"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"PK", "something that begins with b'PK'"),
        (b"\xff" * 600, "something that begins with " + repr(b"\xff" * 16)),
    ],
)
def test_what_is_no_archive_is_named(data: bytes, found: str, tmp_path: Path) -> None:
    """A download failure: the server sent something else."""
    with pytest.raises(DownloadError) as info:
        unpack_bytes(data, tmp_path)
    assert str(info.value) == f"expected a zip or tar archive, found {found}"


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_something_else_compressed_is_named(
    compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """Only a tar archive is expected inside."""
    with pytest.raises(DownloadError, match=r"inside .*, found an HTML page"):
        unpack_bytes(compress(b"<html>"), tmp_path)


def outside(name: str) -> Entry:
    return Entry(name, b"evil")


EVIL = [
    ("/tmp/evil", [outside("/tmp/evil")], "expected a relative path, found an absolute one"),
    ("../evil", [outside("../evil")], "expected a path without '..'"),
    ("a/../../evil", [outside("a/../../evil")], "expected a path without '..'"),
    (".", [outside(".")], "expected a name"),
    ("a\n", [outside("a\n")], "expected a name without control characters"),
    ("\x1b[2J", [outside("\x1b[2J")], "expected a name without control characters"),
    ("./a", [Entry("a"), Entry("./a")], "a duplicate of an earlier member"),
    ("a/b", [Entry("a"), Entry("a/b")], "expected a directory above, found a file"),
    ("a", [directory("a"), Entry("a")], "a duplicate of an earlier member"),
    ("a", [Entry("a"), directory("a")], "a duplicate of an earlier file"),
    ("a/b", [Entry("a"), directory("a/b")], "a duplicate of an earlier file"),
    ("l", [symlink("l", "/etc")], "expected a link with a relative target, found an absolute one"),
    ("l", [symlink("l", "..")], "expected a link that stays inside the archive"),
    ("a/l", [symlink("a/l", "b/../../../c")], "expected a link that stays inside the archive"),
    ("l", [symlink("l", "a\n")], "expected a name without control characters"),
    ("l", [symlink("l", "a"), symlink("l", "b")], "a duplicate of another member"),
    ("l", [symlink("l", "a"), Entry("l/evil")], "a duplicate of another member"),
    ("l", [symlink("l", "."), symlink("l/m", "..")], "a duplicate of another member"),
    ("A", [Entry("a"), Entry("A")], "only in case"),
    ("D", [Entry("d/a"), Entry("D/b")], "only in case"),
    ("a\u2028", [outside("a\u2028")], "expected a name without control characters"),
    ("a\x85", [outside("a\x85")], "expected a name without control characters"),
]
ONLY_TAR = [
    ("l", [symlink("l", "")], "expected a link with a relative target, found none"),
    ("h", [hardlink("h", "/etc/passwd")], "expected a hard link to an earlier file"),
    ("h", [hardlink("h", "../archive")], "expected a hard link to an earlier file"),
    ("h", [hardlink("h", "missing")], "expected a hard link to an earlier file"),
    ("h", [directory("d"), hardlink("h", "d")], "expected a hard link to an earlier file"),
    ("h", [symlink("s", "x"), hardlink("h", "s")], "expected a hard link to an earlier file"),
    ("h", [Entry("a"), hardlink("h", "a/b")], "expected a hard link to an earlier file"),
    ("h", [Entry("a"), Entry("h"), hardlink("h", "a")], "a duplicate of an earlier member"),
    ("f", [Entry("f", type=FIFO)], "expected a file, directory or link, found a fifo"),
    ("d", [Entry("d", type=DEVICE)], "expected a file, directory or link, found a character"),
    ("d", [Entry("d", type=BLOCK_DEVICE)], "expected a file, directory or link, found a block"),
    ("x", [Entry("x", type=b"Z")], "found something of the unknown type b'Z'"),
    ("s", [Entry("s", type=b"S")], "found a sparse file"),
]


@pytest.mark.parametrize(
    ("make", "name", "entries", "why"),
    [(make_tar, *case) for case in EVIL + ONLY_TAR]
    + [(make_zip, *case) for case in EVIL]
    + [(make_zip, "f", [Entry("f", type=FIFO)], "expected a file, directory or link")],
)
def test_an_evil_member_is_refused_by_name(
    make: Callable[..., bytes], name: str, entries: list[Entry], why: str, tmp_path: Path
) -> None:
    """Nothing is written outside."""
    with pytest.raises(UnpackError) as info:
        unpack_bytes(make(*entries), tmp_path)
    assert str(info.value).startswith(repr(name)[:-1])
    assert why in str(info.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "outer"]
    assert [path.name for path in (tmp_path / "outer").iterdir()] == ["app"]
    assert "\n" not in str(info.value)


def test_no_chain_of_links_leads_outside(tmp_path: Path) -> None:
    """Each link alone stays inside; a `..` behind one that leads up would not."""
    entries = [directory("a/b/c"), symlink("a/b/c/up", "../../.."), symlink("e", "a/b/c/up/../..")]
    app = unpack_bytes(make_tar(*entries), tmp_path)
    assert str((app / "e").readlink()) == "a/b"
    assert (app / "e").resolve().is_relative_to(app)


# Not more parts than the limit of levels, which is another test's subject.
names = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=5).map("/".join)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(links=st.lists(st.tuples(names, names), max_size=6))
def test_whatever_links_there_are_none_leads_outside(
    links: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any links to anywhere: refused, or followed to the inside."""
    tmp_path = tmp_path_factory.mktemp("links")
    entries = [symlink(path, target) for path, target in links]
    try:
        app = unpack_bytes(make_tar(*entries), tmp_path)
    except UnpackError:
        app = tmp_path / "outer" / "app"
    for path in app.rglob("*"):
        if path.exists():
            assert path.resolve().is_relative_to(app)


def pax(records: bytes, type: bytes = b"x") -> bytes:  # noqa: A002
    return header(Entry("x", records, type))


def record(key: str, value: bytes) -> bytes:
    rest = b" " + key.encode() + b"=" + value + b"\n"
    size = len(rest) + 1
    while len(str(size)) + len(rest) != size:
        size += 1
    return str(size).encode() + rest


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


@pytest.mark.parametrize(
    "data",
    [
        header(Entry("x", type=b"x"), lambda b: b.__setitem__(slice(124, 136), b"77777777777\0")),
        header(Entry("x", type=b"L"), lambda b: b.__setitem__(slice(124, 136), b"77777777777\0")),
        pax(b"") * 2049 + header(Entry("a")),
        header(Entry("a"), lambda b: b.__setitem__(slice(124, 136), b"77777777777\0")),
        make_tar(*(Entry(f"{n}") for n in range(51))),
        make_tar(*(Entry(f"{n}/a/b/c") for n in range(13))),
        make_tar(*(directory(".") for n in range(51))),
        make_tar(Entry("a" * 256)),
        make_tar(Entry("a/" * 3 + "é" * 148)),
        make_tar(Entry("a/b/c/d/e/f")),
        make_tar(symlink("a", "a/b/c/d/e/f")),
        make_tar(Entry("a", bytes(600_000)), Entry("b", bytes(600_000)), compression="gz"),
        gzip.compress(make_tar(Entry("a")) + bytes(3_000_000)),
        gzip.compress(make_tar(Entry("a"))) + gzip.compress(b"") * 50,
        make_zip(*(Entry(f"{n}") for n in range(51))),
        make_zip(Entry("a", bytes(1_000_001))),
        make_zip(Entry("a/b/c/d/e/f")),
    ],
)
def test_what_is_over_a_limit_is_refused(data: bytes, tmp_path: Path) -> None:
    """A download failure, before it costs much."""
    with pytest.raises(DownloadError):
        unpack_bytes(data, tmp_path)


def test_links_have_a_limit_of_their_own(tmp_path: Path) -> None:
    """They are kept in memory until the end."""
    target = "/".join(["a" * 200] * 20)
    entries = [symlink(f"l{n}", target) for n in range(2100)]
    with pytest.raises(DownloadError, match=r"'l20.*links of at most"):
        unpack_bytes(make_zip(*entries), tmp_path, SourceLimits(path_bytes=5000))


def patched(data: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    assert old in data
    return data.replace(old, new, count)


ONE = make_zip(Entry("name", b"content"), method=zipfile.ZIP_STORED)
DEFLATED = make_zip(Entry("name", b"content" * 100))
CENTRAL = ONE.index(b"PK\1\2")


def edit(data: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into("<" + form, changed, at, value)
    return bytes(changed)


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


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    """One content that many entries share is a bomb."""
    data = make_zip(Entry("a", os.urandom(1000)), Entry("b"))
    second = data.index(b"PK\1\2") + 46 + 1
    data = edit(data, second + 20, "L", 1000)
    with pytest.raises(UnpackError, match="it overlaps another member"):
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


def test_a_deflated_stream_that_ends_early_is_refused(tmp_path: Path) -> None:
    """What is behind its end is not read."""
    bomb = zlib.compressobj(wbits=-15)
    packed = bomb.compress(b"x") + bomb.flush()
    data = make_zip(Entry("name", random.Random(0).randbytes(200_000)))
    start = 30 + 4
    data = data[:start] + packed + data[start + len(packed) :]
    with pytest.raises(UnpackError, match="has not the size and checksum"):
        unpack_bytes(data, tmp_path)


def test_a_check_ends_the_work(tmp_path: Path) -> None:
    """It is called within a large file, too."""
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ZeroDivisionError

    archive, app = tmp_path / "archive", tmp_path / "app"
    archive.write_bytes(make_tar(Entry("a", bytes(10_000_000))))
    app.mkdir()
    with pytest.raises(ZeroDivisionError):
        unpack(archive, app, SourceLimits(), check)
    assert (app / "a").stat().st_size < 1_000_000


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.sampled_from([ONE, DEFLATED, make_zip(*APP[:3]), make_tar(*APP[:3])[:4096] + END]),
    changes=st.lists(
        st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=4)), max_size=4
    ),
    cut=st.integers(0, 8000),
)
def test_no_bytes_do_anything_but_unpack_or_be_refused(
    data: bytes,
    changes: list[tuple[int, bytes]],
    cut: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever is changed: files inside, or an error of one line."""
    changed = bytearray(data)
    for at, new in changes:
        changed[at % len(data) : at % len(data) + len(new)] = new
    try:
        unpack_bytes(bytes(changed[:cut]), tmp_path_factory.mktemp("bytes"))
    except SourceError as exc:
        message = str(exc)
        assert message.isprintable()


def test_the_work_has_a_limit_of_time(tmp_path: Path) -> None:
    """However little is written, and however often the caller would let it go on."""
    with pytest.raises(DownloadError, match=r"expected an archive that is unpacked within 1e-09 s"):
        unpack_bytes(make_tar(Entry("a")), tmp_path, SourceLimits(unpack_timeout=1e-9))


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_a_part_of_the_disk_stays_free(make: Callable[..., bytes], tmp_path: Path) -> None:
    """Directories count, too."""
    with pytest.raises(OSError, match="of the disk to stay free"):
        unpack_bytes(make(directory("d")), tmp_path, SourceLimits(min_free_bytes=1 << 62))


@pytest.mark.slow
@pytest.mark.parametrize("make", [partial(make_tar, compression="gz"), make_zip])
def test_an_archive_that_swells_too_much_is_refused(
    make: Callable[..., bytes], tmp_path: Path
) -> None:
    """Before the limit on bytes, and by what the archive says, before much is written."""
    data = make(Entry("zeros", bytes(65 * 1024**2)))
    with pytest.raises(DownloadError) as info:
        unpack_bytes(data, tmp_path, SourceLimits())
    assert str(info.value) == (
        "'zeros' in the archive: expected at most 67108864 bytes in all "
        f"from an archive of {len(data)}, found more"
    )
    assert tree(tmp_path / "outer" / "app") == {}


def test_an_archive_that_swells_may_be_let(tmp_path: Path) -> None:
    """The limit is a ratio, and so can be set."""
    data = make_zip(Entry("zeros", bytes(900_000)))
    assert "zeros" in tree(unpack_bytes(data, tmp_path))


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


def test_directories_above_are_made_as_they_are_missing(tmp_path: Path) -> None:
    app = unpack_bytes(make_tar(Entry("a/b"), Entry("a/c/d/e/f")), tmp_path)
    assert list(tree(app)) == ["a", "a/b", "a/c", "a/c/d", "a/c/d/e", "a/c/d/e/f"]


def test_directories_count_once(tmp_path: Path) -> None:
    """Whether they are members, or only implied, or both."""
    entries = [directory("a"), directory("a/b"), Entry("a/b/c"), Entry("d/e"), directory("d")]
    unpack_bytes(make_tar(*entries), tmp_path, SourceLimits(members=6))
    with pytest.raises(DownloadError, match="'d/' in the archive: expected at most 5 members"):
        unpack_bytes(make_tar(*entries), tmp_path / "outer", SourceLimits(members=5))


def test_what_the_file_system_has_no_name_for_is_refused(tmp_path: Path) -> None:
    """Whatever the limits allow, and before recursion ends; trying again would not mend it."""
    limits = SourceLimits(path_bytes=10_000, path_depth=10_000)
    app = unpack_bytes(make_tar(Entry("d/" * 1900 + "f")), tmp_path, limits)
    remove_tree(app, lambda: None)
    with pytest.raises(UnpackError, match="cannot be made here: File name too long"):
        unpack_bytes(make_tar(Entry("d/" * 2100 + "f")), tmp_path / "outer", limits)


@pytest.mark.parametrize(
    "data", [make_zip(*APP), make_tar(*APP), make_tar(*APP, compression="xz"), make_zip()]
)
def test_an_archive_is_told_from_other_files(data: bytes, tmp_path: Path) -> None:
    """By its first bytes, or the last ones of a zip."""
    path = tmp_path / "archive"
    path.write_bytes(data)
    check_archive(path, LIMITS, lambda: None)


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>", make_zip(*APP)[:-1], gzip.compress(b"x"), make_tar(compression="xz")[:9]],
)
def test_other_files_are_told_from_archives(data: bytes, tmp_path: Path) -> None:
    """Also those that begin like one."""
    path = tmp_path / "archive"
    path.write_bytes(data)
    with pytest.raises(SourceError):
        check_archive(path, LIMITS, lambda: None)

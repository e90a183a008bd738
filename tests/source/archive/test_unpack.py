"""Unpacking: honest archives whole, all else refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import DownloadError, SourceError
from smartmob_agent.source.archive.unpack import check_archive, unpack
from tests.source.archives import (
    Entry,
    directory,
    header,
    make_tar,
    make_zip,
    pax,
    symlink,
)

from .unpacking import LIMITS, tree, unpack_bytes

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


@pytest.mark.parametrize("data", [make_zip(), make_tar(), bytes(10240)])
def test_an_empty_archive_is_one(data: bytes, tmp_path: Path) -> None:
    """It only has no Procfile."""
    assert tree(unpack_bytes(data, tmp_path)) == {}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "nothing"),
        (b" \n<!DOCTYPE html><p>", "an HTML page"),
        (b"<html>", "an HTML page"),
        (b"<?xml?>", "an XML document"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\x04\x22\x4d\x18", "lz4 data"),
        (b"LZIP\1", "lzip data"),
        (b"\x5d\0\0\x80\0", "lzma data"),
        (b"\x1f\x9d\x90", "data of compress (.Z)"),
        (b"070701" + b"0" * 600, "a cpio archive"),
        (b"\xc7\x71", "a cpio archive"),
        (b"!<arch>\ndebian-binary", "an ar archive, as Debian packages are"),
        (b"\x7fELF", "a program"),
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
def test_what_is_compressed_twice_is_named(
    compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """As a server does that compresses everything once more."""
    with pytest.raises(DownloadError, match=r"inside .*, found .* data: it is compressed twice$"):
        unpack_bytes(compress(compress(make_tar(*APP))), tmp_path)


def test_another_format_that_is_compressed_is_named(tmp_path: Path) -> None:
    for data, found in ((lzma.compress(b""), "xz data"), (make_zip(*APP), "a zip archive")):
        with pytest.raises(DownloadError, match=f"inside gzip, found {found}$"):
            unpack_bytes(gzip.compress(data), tmp_path)
        (tmp_path / "outer" / "app").rmdir()
        (tmp_path / "outer").rmdir()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_something_else_compressed_is_named(
    compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """Only a tar archive is expected inside."""
    with pytest.raises(DownloadError, match=r"inside .*, found an HTML page"):
        unpack_bytes(compress(b"<html>"), tmp_path)


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


def test_the_work_has_a_limit_of_time(tmp_path: Path) -> None:
    """However little is written, and however often the caller would let it go on."""
    with pytest.raises(DownloadError, match=r"expected an archive that is unpacked within 1e-09 s"):
        unpack_bytes(make_tar(Entry("a")), tmp_path, SourceLimits(unpack_timeout=1e-9))


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

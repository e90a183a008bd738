"""Unpacking whatever bytes there are: files inside, or an error of one line."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings, strategies as st

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import SourceError
from smartmob_agent.source.archive.unpack import check_archive, unpack
from tests.source.archives import (
    END,
    Entry,
    directory,
    hardlink,
    header,
    make_tar,
    make_zip,
    symlink,
)

pytestmark = pytest.mark.slow

LIMITS = SourceLimits(members=20, unpacked_bytes=100_000, path_bytes=300, path_depth=5)

ENTRIES = (
    directory("d", mode=0o7777),
    Entry("d/Procfile", b"web: run\n", mode=0o6777),
    Entry("d/é/" + "n" * 120, b"x" * 2000),
    symlink("d/link", "é"),
    Entry("e", b""),
)
TARS = (
    make_tar(*ENTRIES, hardlink("h", "e")),
    make_tar(*ENTRIES, hardlink("h", "d/Procfile"), format=tarfile.GNU_FORMAT),
    b"".join(header(Entry(name, b"y" * 600)) for name in ("a", "b")) + END,
)
ZIPS = (make_zip(*ENTRIES), make_zip(*ENTRIES, method=zipfile.ZIP_STORED))
COMPRESS: tuple[Callable[[bytes], bytes], ...] = (bytes, gzip.compress, bz2.compress, lzma.compress)

SPECIAL = (b"..", b"../", b"/", b"\0", b"\n", b"\xff" * 4, b"2", b"1", b"x", b"L", b"\x80\0\0\1")
KINDS = ("flip", "put", "in", "out", "splice", "cut")
places = st.integers(0, 100_000)


@st.composite
def changes(draw: st.DrawFn, data: bytes) -> bytes:
    """The same bytes with some flipped, overwritten, left out, put in, or taken from another."""
    changed = bytearray(data)
    for kind in draw(st.lists(st.sampled_from(KINDS), max_size=4)):
        at = draw(places) % (len(changed) + 1)
        if kind == "flip" and at < len(changed):
            changed[at] ^= 1 << draw(st.integers(0, 7))
        elif kind in {"put", "in"}:
            new = draw(st.sampled_from(SPECIAL) | st.binary(min_size=1, max_size=8))
            changed[at : at + (len(new) if kind == "put" else 0)] = new
        elif kind == "out":
            del changed[at : at + draw(st.sampled_from([1, 4, 46, 512, 1024]))]
        elif kind == "splice":
            other = draw(st.sampled_from(TARS + ZIPS))
            start = draw(st.integers(0, len(other) // 512)) * 512
            changed[at // 512 * 512 : at] = other[start : start + draw(st.integers(0, 2048))]
        elif kind == "cut":
            del changed[at:]
    return bytes(changed)


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """An archive that is changed: before it is compressed, its sums put right, and after that."""
    if draw(st.booleans()):
        return draw(changes(draw(st.sampled_from(ZIPS))))
    data = with_checksums(draw(changes(draw(st.sampled_from(TARS)))))
    data = draw(st.sampled_from(COMPRESS))(data)
    return draw(changes(data)) if draw(st.booleans()) else data


def with_checksums(data: bytes) -> bytes:
    """Put the checksums of all tar headers right, so that more than those is looked at."""
    blocks = [bytearray(data[at : at + 512]) for at in range(0, len(data), 512)]
    for block in blocks:
        if block[257:262] == b"ustar" and len(block) == 512:
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def check_tree(app: Path) -> None:
    """What is there is inside, within the limits, and gives nobody else any right."""
    paths = list(app.rglob("*"))
    assert len(paths) <= LIMITS.members
    size = 0
    for path in paths:
        info = path.lstat()
        if stat.S_ISLNK(info.st_mode):
            assert not path.exists() or path.resolve().is_relative_to(app.resolve())
        else:
            assert stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)
            assert not info.st_mode & 0o7022
            size += info.st_size // info.st_nlink if stat.S_ISREG(info.st_mode) else 0
    assert size <= LIMITS.unpacked_bytes


@settings(max_examples=300, deadline=None)
@given(data=archives() | st.binary(max_size=2000))
@example(data=TARS[0])
@example(data=TARS[1])
@example(data=ZIPS[0])
def test_any_bytes_are_unpacked_inside_or_refused(data: bytes) -> None:
    """No other error, nothing outside, no more than the limits allow."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        archive, app = top / "archive", top / "outer" / "app"
        app.mkdir(parents=True)
        archive.write_bytes(data)
        with contextlib.suppress(SourceError):
            check_archive(archive, LIMITS, lambda: None)
        try:
            unpack(archive, app, LIMITS, lambda: None)
        except SourceError as exc:
            message = str(exc)
            assert message.isprintable()
        check_tree(app)
        assert {path.name for path in top.iterdir()} == {"archive", "outer"}
        assert [path.name for path in (top / "outer").iterdir()] == ["app"]
        assert archive.read_bytes() == data

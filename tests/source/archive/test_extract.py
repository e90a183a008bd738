"""Where the members of archives go, and where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import DownloadError, UnpackError
from smartmob_agent.source.disk.rmtree import remove_tree
from tests.source.archives import (
    Entry,
    directory,
    hardlink,
    make_tar,
    make_zip,
    symlink,
)

from .unpacking import tree, unpack_bytes


@pytest.mark.slow
def test_any_number_of_directories_comes_out(tmp_path: Path) -> None:
    """In any order."""
    names = [*(f"d{n}/f" for n in range(1001)), "d0/g"]
    app = unpack_bytes(make_tar(*map(Entry, names)), tmp_path, SourceLimits())
    assert {str(path.relative_to(app)) for path in app.glob("*/*")} == set(names)


def test_directories_above_are_made_as_they_are_missing(tmp_path: Path) -> None:
    app = unpack_bytes(make_tar(Entry("a/b"), Entry("a/c/d/e/f")), tmp_path)
    assert list(tree(app)) == ["a", "a/b", "a/c", "a/c/d", "a/c/d/e", "a/c/d/e/f"]


def test_directories_count_once(tmp_path: Path) -> None:
    """Whether they are members, or only implied, or both."""
    entries = [directory("a"), directory("a/b"), Entry("a/b/c"), Entry("d/e"), directory("d")]
    unpack_bytes(make_tar(*entries), tmp_path, SourceLimits(members=6))
    with pytest.raises(DownloadError, match="'d/' in the archive: expected at most 5 members"):
        unpack_bytes(make_tar(*entries), tmp_path / "outer", SourceLimits(members=5))


def test_hard_links_are_kept(tmp_path: Path) -> None:
    """To an earlier file inside."""
    app = unpack_bytes(make_tar(Entry("a/b", b"x"), hardlink("c/d", "./a/b")), tmp_path)
    assert (app / "a/b").samefile(app / "c/d")


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


def test_links_have_a_limit_of_their_own(tmp_path: Path) -> None:
    """They are kept in memory until the end."""
    target = "/".join(["a" * 200] * 20)
    entries = [symlink(f"l{n}", target) for n in range(2100)]
    with pytest.raises(DownloadError, match=r"'l20.*links of at most"):
        unpack_bytes(make_zip(*entries), tmp_path, SourceLimits(path_bytes=5000))


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_a_part_of_the_disk_stays_free(make: Callable[..., bytes], tmp_path: Path) -> None:
    """Directories count, too."""
    with pytest.raises(OSError, match="of the disk to stay free"):
        unpack_bytes(make(directory("d")), tmp_path, SourceLimits(min_free_bytes=1 << 62))


@pytest.mark.slow
def test_what_the_file_system_has_no_name_for_is_refused(tmp_path: Path) -> None:
    """Whatever the limits allow, and before recursion ends; a retry would not help."""
    limits = SourceLimits(path_bytes=10_000, path_depth=10_000)
    app = unpack_bytes(make_tar(Entry("d/" * 1100 + "f")), tmp_path, limits)
    remove_tree(app, lambda: None)
    with pytest.raises(UnpackError, match="cannot be made here: File name too long"):
        unpack_bytes(make_tar(Entry("d/" * 2100 + "f")), tmp_path / "outer", limits)

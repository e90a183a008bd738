"""Where the members of archives go, and where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import DownloadError, UnpackError
from smartmob_agent.source.app.root import resolve_inside
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


def test_an_absolute_link_is_kept(tmp_path: Path) -> None:
    """As a virtual environment has it; nobody follows it here."""
    entries = [symlink("bin/python", "/usr/bin/python3"), symlink("etc", "/etc//./x/..")]
    app = unpack_bytes(make_tar(*entries), tmp_path)
    assert tree(app) == {"bin": 0o755, "bin/python": "/usr/bin/python3", "etc": "/etc/x/.."}
    remove_tree(app, lambda: None)
    assert Path("/etc").is_dir()


def test_an_absolute_link_has_limits_as_any_path(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="expected at most 5 levels"):
        unpack_bytes(make_tar(symlink("l", "/a/b/c/d/e/f")), tmp_path)
    with pytest.raises(UnpackError, match="without control characters"):
        unpack_bytes(make_tar(symlink("l", "/a\nb")), tmp_path / "outer")


FILE, LATER = Entry("a/f", b"first", mode=0o755), Entry("./a//f", b"last")


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([FILE, LATER], (0o644, b"last")),
        ([symlink("a/f", "x"), LATER], (0o644, b"last")),
        ([FILE, symlink("a/f", "x")], "x"),
        ([symlink("a/f", "x"), symlink("a/f", "y")], "y"),
        ([symlink("a/f", "/x"), FILE, symlink("a/f", "/y")], "/y"),
    ],
)
def test_the_last_of_one_name_counts(
    make: Callable[..., bytes], entries: list[Entry], expected: object, tmp_path: Path
) -> None:
    """As `tar r` and `tar u` append what has changed."""
    app = unpack_bytes(make(*entries), tmp_path)
    assert tree(app) == {"a": 0o755, "a/f": expected}


def test_what_comes_last_does_not_change_what_another_name_has(tmp_path: Path) -> None:
    """A file is replaced, not written again: it may be a hard link."""
    entries = [Entry("a", b"old"), hardlink("h", "a"), Entry("h", b"new"), Entry("b", b"b")]
    app = unpack_bytes(make_tar(*entries, hardlink("b", "a")), tmp_path)
    assert tree(app) == {"a": (0o644, b"old"), "b": (0o644, b"old"), "h": (0o644, b"new")}


def test_files_that_are_replaced_count_all_the_same(tmp_path: Path) -> None:
    """They cost as much."""
    with pytest.raises(DownloadError, match="expected at most 1000000 bytes in all"):
        unpack_bytes(make_tar(*[Entry("a", bytes(400_000))] * 3), tmp_path)


def test_a_hard_link_may_be_to_a_link_or_to_itself(tmp_path: Path) -> None:
    """GNU tar makes one of a file that is named twice, as in `tar c Procfile .`."""
    entries = [
        Entry("d/f", b"x"),
        symlink("d/l", "f"),
        hardlink("d/h", "d/l"),
        hardlink("e", "d/l"),
    ]
    more = [symlink("abs", "/x"), hardlink("habs", "abs"), hardlink("./d/f", "d/f")]
    app = unpack_bytes(make_tar(*entries, *more, hardlink("d/l", "./d/l")), tmp_path)
    assert tree(app) == {
        "abs": "/x",
        "d": 0o755,
        "d/f": (0o644, b"x"),
        "d/h": "f",
        "d/l": "f",
        "e": "f",
        "habs": "/x",
    }


def test_no_chain_of_links_leads_outside(tmp_path: Path) -> None:
    """Each link alone stays inside; a `..` behind one that leads up would not."""
    entries = [directory("a/b/c"), symlink("a/b/c/up", "../../.."), symlink("e", "a/b/c/up/../..")]
    app = unpack_bytes(make_tar(*entries), tmp_path)
    assert str((app / "e").readlink()) == "a/b"
    assert (app / "e").resolve().is_relative_to(app)


def is_absolute_link(path: Path) -> bool:
    return path.is_symlink() and path.readlink().is_absolute()


# Not more parts than the limit of levels, which is another test's subject.
names = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=5).map("/".join)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(links=st.lists(st.tuples(names, names), max_size=6))
def test_whatever_links_there_are_none_leads_outside(
    links: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any links to anywhere: refused, or followed to the inside; by the agent not even through an
    absolute one.
    """
    tmp_path = tmp_path_factory.mktemp("links")
    entries = [symlink(path, target) for path, target in links]
    try:
        app = unpack_bytes(make_tar(*entries), tmp_path)
    except UnpackError:
        app = tmp_path / "outer" / "app"
    for path in app.rglob("*"):
        inside = resolve_inside(app, path)
        assert inside is None or inside == inside.resolve()
    links_out = [path for path in app.rglob("*") if is_absolute_link(path)]
    for path in app.rglob("*"):
        if not links_out and path.exists():
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

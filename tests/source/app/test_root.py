"""Where the app is in its archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartmob_agent.errors import InvalidProcfileError, NoProcfileError
from smartmob_agent.source.app.root import describe, locate, resolve_inside


@pytest.mark.parametrize(
    ("files", "root"),
    [
        (["Procfile"], "."),
        (["a/Procfile"], "a"),
        (["Procfile", "a/Procfile"], "."),
        (["a/Procfile", "README"], "a"),
        (["a/Procfile", "__MACOSX/a/._Procfile"], "a"),
    ],
)
def test_the_root_holds_the_procfile(files: list[str], root: str, tmp_path: Path) -> None:
    """The top, or its only directory."""
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    procfile = "Procfile" if root == "." else f"{root}/Procfile"
    assert locate(tmp_path, 100) == (tmp_path / root, procfile.encode())


@pytest.mark.parametrize(
    ("files", "root"),
    [
        ([], "."),
        (["a/b/Procfile"], "a"),
        (["a/b/Procfile", "file"], "."),
        (["a/Procfile", "b/file"], "."),
        (["procfile"], "."),
        (["Procfile/file"], "Procfile"),
    ],
)
def test_elsewhere_there_is_none(files: list[str], root: str, tmp_path: Path) -> None:
    """Nor is a directory one.  The root is the top all the same, or all that is there."""
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert locate(tmp_path, 100) == (tmp_path / root, None)


@pytest.mark.parametrize(
    ("files", "wanted", "root", "procfile"),
    [
        (["b/Procfile", "Procfile"], "b", "b", b"b/Procfile"),
        (["top/b/Procfile", "top/Procfile"], "b", "top/b", b"top/b/Procfile"),
        (["top/b/c/file"], "b/c", "top/b/c", None),
    ],
)
def test_a_root_may_be_wanted(
    files: list[str], wanted: str, root: str, procfile: bytes | None, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert locate(tmp_path, 100, wanted) == (tmp_path / root, procfile)


@pytest.mark.parametrize("target", ["/etc", "..", "file", "missing", "b"])
def test_a_root_that_is_no_directory_inside_is_told(target: str, tmp_path: Path) -> None:
    """Not there, a file, outside, or in a circle."""
    (tmp_path / "file").touch()
    (tmp_path / "b").symlink_to(target)
    with pytest.raises(NoProcfileError, match="expected a directory 'b' in the archive"):
        locate(tmp_path, 100, "b")


@pytest.mark.parametrize("target", ["/etc/hostname", "../secret", "missing", "Procfile"])
def test_a_link_to_anywhere_else_is_none(target: str, tmp_path: Path) -> None:
    """Outside, to nothing, or in a circle."""
    (tmp_path / "secret").touch()
    app = tmp_path / "app"
    app.mkdir()
    (app / "Procfile").symlink_to(target)
    assert locate(app, 100) == (app, None)


def test_a_link_inside_is_followed(tmp_path: Path) -> None:
    """As in an archive with several apps."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "Procfile.web").write_text("web: run")
    (tmp_path / "Procfile").symlink_to("etc/Procfile.web")
    assert locate(tmp_path, 100) == (tmp_path, b"web: run")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/file", "a/file"),
        ("a/up/file", "file"),
        ("a/up/../file", None),
        ("dots", "a/file"),
        ("a/twice", "a/file"),
        ("absolute", None),
        ("absolute/file", None),
        ("within", None),
        ("out", None),
        ("a/up/out/app/file", None),
        ("circle", None),
        ("missing", None),
    ],
)
def test_links_are_followed_inside_only(path: str, expected: str | None, tmp_path: Path) -> None:
    """An absolute target is one outside, wherever it leads."""
    app = tmp_path / "app"
    (app / "a").mkdir(parents=True)
    (app / "a" / "file").touch()
    (app / "file").touch()
    for name, target in {
        "a/up": "..",
        "dots": "./a/../a//file",
        "a/twice": "../dots",
        "absolute": "/",
        "within": str(app / "file"),
        "out": "..",
        "circle": "circle",
    }.items():
        (app / name).symlink_to(target)
    found = resolve_inside(app, app / path)
    assert found == (None if expected is None else app / expected)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], "an empty archive"),
        (["__MACOSX/file"], "an empty archive"),
        (["backend/Procfile", "frontend/index.js"], "'backend/Procfile'"),
        (["a/b/Procfile", "a/c"], "'a/b/Procfile'"),
        (["a/b/c/Procfile"], "'a/'"),
        (["procfile"], "'procfile'"),
        (["app/Procfile.txt"], "'app/Procfile.txt'"),
        (["Procfile/web"], "'Procfile/'"),
        (["app.tar.gz"], "'app.tar.gz'"),
        (["src/main.py", "README"], "'README', 'src/'"),
        (list("fedcba"), "'a', 'b', 'c', 'd', 'e', …"),
        (["pkg/__init__.py", "pkg-1.dist-info/WHEEL"], "a Python wheel"),
        (["metadata.gz", "data.tar.gz"], "a Ruby gem"),
        (["META-INF/MANIFEST.MF", "A.class"], "a Java archive"),
        (["oci-layout", "blobs/x"], "a container image"),
        (["image/manifest.json", "image/0/layer.tar"], "a container image"),
    ],
)
def test_what_there_is_instead_is_told(files: list[str], found: str, tmp_path: Path) -> None:
    """A Procfile elsewhere, one of another name, an archive of another kind, or anything."""
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert describe(tmp_path) == found


def test_a_link_that_is_no_procfile_is_told(tmp_path: Path) -> None:
    """Nothing is followed to say so."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Procfile").symlink_to("/etc/hostname")
    (tmp_path / "etc").symlink_to("/etc")
    assert describe(tmp_path) == "a/Procfile as a link that leads to no file of the archive"


def test_a_procfile_over_the_limit_is_invalid(tmp_path: Path) -> None:
    """The line is that where the limit is."""
    (tmp_path / "Procfile").write_bytes(b"web: run\n" * 3)
    assert locate(tmp_path, 27)[1] is not None
    with pytest.raises(InvalidProcfileError) as info:
        locate(tmp_path, 26)
    assert str(info.value) == (
        "Procfile line 3: expected a file of at most 26 bytes, found a longer one"
    )

"""Directories as archives, without what git would not look at."""

from __future__ import annotations

import io
import os
import random
import resource
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from smartmob_agent.client import open_client
from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.ignore import Choice, Selection
from smartmob_agent.client_cli.pack import Packed, Walk, pack
from smartmob_agent.client_cli.source import source_url

TREE: Mapping[str, str] = {
    ".gitignore": "*.log\n/build/\n!keep.log\n**/cache\nonly-dir/\n",
    "Procfile": "web: ./run.sh\n",
    "run.sh": "#!/bin/sh\n",
    "a.log": "",
    "keep.log": "",
    "build/x": "",
    "src/build/x": "",
    "src/.gitignore": "!a.log\nlocal.txt\n",
    "src/a.log": "",
    "src/local.txt": "",
    "src/deep/cache/x": "",
    "src/deep/local.txt": "",
    "src/deep/b.log": "",
    "src/only-dir": "a file",
    "local.txt": "",
}


def make(directory: Path, tree: Mapping[str, str] = TREE) -> Path:
    for name, text in tree.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def packed(directory: Path, *include: str) -> bytes:
    buffer = io.BytesIO()
    pack(directory, buffer, lambda: None, include=include)
    return buffer.getvalue()


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: member for member in tar}


def files(archive: bytes) -> set[str]:
    return {name for name, member in members(archive).items() if not member.isdir()}


def test_what_is_ignored_is_left_out(tmp_path: Path) -> None:
    assert files(packed(make(tmp_path))) == {
        ".gitignore",
        "Procfile",
        "keep.log",
        "local.txt",
        "run.sh",
        "src/.gitignore",
        "src/a.log",
        "src/build/x",
        "src/only-dir",
    }


@pytest.mark.skipif(shutil.which("git") is None, reason="compares with git")
@pytest.mark.parametrize("below", ["", "app", "app/deeper"])
def test_git_would_take_the_same(below: str, tmp_path: Path) -> None:
    """In a directory below the top of the repository too, whose rules count there."""
    directory = make(tmp_path / "repository" / below)
    if below:
        (tmp_path / "repository" / ".gitignore").write_text("run.sh\n/app/keep.log\nlocal.txt\n")
    (tmp_path / ".gitignore").write_text("*\n")  # Outside of the repository.
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(tmp_path)}
    subprocess.run(["git", "init", "-q", tmp_path / "repository"], check=True, env=env)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"],
        cwd=directory,
        check=True,
        env=env,
        capture_output=True,
        text=True,
    )
    assert files(packed(directory)) == set(listed.stdout.splitlines())


@pytest.mark.parametrize("below", ["build", "build/app", "x/build/y"])
def test_who_names_a_directory_wants_what_is_in_it(below: str, tmp_path: Path) -> None:
    """Though a rule above leaves it out; other rules count."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("build/\n*.log\n/x\n")
    directory = make(tmp_path / below, {"Procfile": "", "a/b": "", "a/c.log": ""})
    assert files(packed(directory)) == {"Procfile", "a/b"}


INSTALLED: Mapping[str, str] = {
    ".gitignore": "node_modules\n/vendor/bundle\ntarget/\n.venv\ndist/\n*.log\n.env\n__pycache__\n",
    "Procfile": "web: true\n",
    ".env": "",
    "a.log": "",
    "__pycache__/x.pyc": "",
    "node_modules/a/index.js": "",
    "node_modules/a/dist/a.js": "",
    "node_modules/a/.gitignore": "build\n",
    "node_modules/a/build/a.js": "",
    "node_modules/a/.git/HEAD": "",
    "node_modules/a/x.log": "",
    "vendor/bundle/dep.rb": "",
    "vendor/lib/dist/dep.py": "",
    "target/app.jar": "",
    "target/debug/app": "",
    ".venv/bin/x": "",
}
PLAIN = {".gitignore", "Procfile"}
OF_NODE = {
    f"node_modules/a/{name}"
    for name in ("index.js", "dist/a.js", ".gitignore", "build/a.js", "x.log")
}


@pytest.mark.parametrize(
    ("include", "own", "taken"),
    [
        ([], None, set()),
        (["node_modules"], None, OF_NODE),
        (["./node_modules/"], None, OF_NODE),
        (["/node_modules/a"], None, OF_NODE),
        (["node_modules", "!*.log"], None, OF_NODE - {"node_modules/a/x.log"}),
        (["target/app.jar", "bundle"], None, {"target/app.jar", "vendor/bundle/dep.rb"}),
        (["*.jar", "!./target"], None, set()),
        (["vendor"], None, {"vendor/bundle/dep.rb", "vendor/lib/dist/dep.py"}),
        ([], "!node_modules\n", OF_NODE),
        ([], "\ufeff!node_modules\r\nx.log\r\n", OF_NODE - {"node_modules/a/x.log"}),
        ([], "!/target\n/target/debug\n", {"target/app.jar"}),
        (["debug"], "!/target\n/target/debug\n", {"target/app.jar", "target/debug/app"}),
        (["node_modules"], "node_modules\n*.log\n", OF_NODE),
    ],
)
def test_what_is_ignored_may_be_taken_in(
    include: list[str], own: str | None, taken: set[str], tmp_path: Path
) -> None:
    """Whole: no rule for the files of the app hits what is in it."""
    make(tmp_path, INSTALLED)
    if own is not None:
        (tmp_path / ".smartmobignore").write_text(own)
        taken = taken | {".smartmobignore"}
    assert files(packed(tmp_path, *include)) == PLAIN | taken


def test_what_is_ours_alone_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, {"Procfile": "", ".smartmobignore": "/docs\n", "docs/x": "", "a/docs/x": ""})
    assert files(packed(tmp_path)) == {"Procfile", ".smartmobignore", "a/docs/x"}
    (tmp_path / ".smartmobignore").write_text("Procfile\n")
    with pytest.raises(CommandError, match=r"but .*/\.smartmobignore leaves it out"):
        packed(tmp_path)
    assert "Procfile" in files(packed(tmp_path, "Procfile"))


def test_what_is_left_out_is_known(tmp_path: Path) -> None:
    """Each directory once, and not what was taken in, nor what our own file leaves out."""
    make(tmp_path, {**INSTALLED, ".smartmobignore": "*.log\n", "src/dist/x/y": "", "b.log": ""})

    def look(*include: str) -> Packed:
        return pack(tmp_path, io.BytesIO(), lambda: None, include=include)

    everywhere = [".env", ".venv", "__pycache__", "node_modules", "src/dist", "target"]
    assert look().left_out == [*everywhere, "vendor/bundle", "vendor/lib/dist"]
    include = ("node_modules", "!x", "vendor/bundle", "nothing", "!no")
    some = look(*include)
    assert some.left_out == [
        ".env",
        ".venv",
        "__pycache__",
        "src/dist",
        "target",
        "vendor/lib/dist",
    ]
    assert some.unused == ["nothing", "!no"]


def test_only_line_ends_of_git_end_a_rule(tmp_path: Path) -> None:
    names = ["a\x85b", "a\x0cb", "a\u2028b"]
    rules = "\ufeff" + "".join(f"/{name}\r\n" for name in names)
    make(tmp_path, {"Procfile": "", "b": "", **dict.fromkeys(names, "")})
    (tmp_path / ".gitignore").write_bytes(rules.encode())
    assert files(packed(tmp_path)) == {"Procfile", "b", ".gitignore"}


def test_an_ignored_directory_need_not_be_readable(tmp_path: Path) -> None:
    """It is looked into for what --include may name."""
    make(tmp_path, INSTALLED)
    selection = Selection(tmp_path, ["x"])
    rules = selection.rules()
    assert [*Walk(selection).paths(tmp_path / "gone", Choice.IGNORED, rules)] == []
    with pytest.raises(FileNotFoundError):
        next(Walk(selection).paths(tmp_path / "gone", Choice.PACKED, rules))


@pytest.mark.parametrize("where", [".", "app"])
def test_a_procfile_that_is_left_out_is_told(where: str, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    directory = make(tmp_path / "app", {"Procfile": ""})
    rules = tmp_path / where / ".gitignore"
    rules.write_text("*file\n")
    with pytest.raises(CommandError, match=f"but {rules} leaves it out$") as caught:
        packed(directory)
    assert caught.value.code == 2


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    one, two = make(tmp_path / "1"), make(tmp_path / "2")
    os.utime(two / "run.sh", (1, 1))
    assert packed(one) == packed(two)


def test_modes_and_links_and_empty_directories_are_kept(tmp_path: Path) -> None:
    directory = make(tmp_path, {"Procfile": "", "bin/run": "", "lib/x": ""})
    (directory / "bin/run").chmod(0o700)
    (directory / "bin/x").symlink_to("../lib/x")
    (directory / "bin/python").symlink_to("/usr/bin/python3")
    (directory / "empty").mkdir()
    os.mkfifo(directory / "fifo")
    found = members(packed(directory))
    assert (found["bin/run"].mode, found["lib/x"].mode) == (0o755, 0o644)
    assert (found["bin/x"].issym(), found["bin/x"].linkname) == (True, "../lib/x")
    assert (found["bin/python"].issym(), found["bin/python"].linkname) == (
        True,
        "/usr/bin/python3",
    )
    assert found["empty"].isdir()
    assert "fifo" not in found
    assert {(m.mtime, m.uid, m.uname) for m in found.values()} == {(0, 0, "")}


@pytest.mark.parametrize("target", ["../../x", "../x", "a/../../x"])
def test_a_link_that_leads_out_is_told(target: str, tmp_path: Path) -> None:
    make(tmp_path, {"Procfile": ""})
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(
        CommandError, match=f"link link leads out of the directory, to {target}$"
    ) as e:
        packed(tmp_path)
    assert e.value.code == 2


def test_a_directory_without_a_procfile_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"expected a Procfile in {tmp_path}, found none"):
        packed(tmp_path)


def test_packing_can_be_given_up(tmp_path: Path) -> None:
    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(make(tmp_path), io.BytesIO(), check)


class Archive(io.BytesIO):
    """Does something when the first part of a file has been packed."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act = act

    def write(self, data: Any) -> int:
        if self.tell() > 1 << 16:
            self._act()
        return super().write(data)


def make_large(directory: Path) -> Path:
    make(directory, {"Procfile": ""})
    path = directory / "log"
    path.write_bytes(random.Random(1).randbytes(1 << 20))
    return path


def test_a_file_that_shrinks_is_told(tmp_path: Path) -> None:
    path = make_large(tmp_path)
    with pytest.raises(CommandError, match=f"^{path} became shorter while it was packed$"):
        pack(tmp_path, Archive(lambda: os.truncate(path, 0)), lambda: None)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """As good as one: no file may have more than a few bytes, setrlimit(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [1 << 12, 1 << 16], ids=["when it is closed", "at once"])
async def test_an_archive_that_cannot_be_written_is_no_fault_of_what_is_packed(
    size: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    make(tmp_path, {"Procfile": ""})
    (tmp_path / "data").write_bytes(random.Random(1).randbytes(size))
    async with open_client("unix:/nowhere") as client:
        request.getfixturevalue("full_disk")
        with pytest.raises(
            CommandError, match=f"^cannot upload {tmp_path}: File too large$"
        ) as told:
            await source_url(client, str(tmp_path))
    assert told.value.code == 1


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    make_large(tmp_path)
    last = tmp_path / "z"
    last.touch()
    with pytest.raises(FileNotFoundError) as caught:
        pack(tmp_path, Archive(lambda: last.unlink(missing_ok=True)), lambda: None)
    assert caught.value.filename == str(last)


def test_a_disk_that_is_full_is_told_by_the_words_of_the_system(tmp_path: Path) -> None:
    def fail() -> None:
        Path("/dev/full").write_text("x")

    make_large(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        pack(tmp_path, Archive(fail), lambda: None)

"""Archives of real programs come out as those unpack them, or are refused as is documented."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import SourceError
from smartmob_agent.source.archive.unpack import unpack

from .real_tools import REAL_ARCHIVES, RealArchive

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "sources.rst"

LIMITS = SourceLimits(min_free_bytes=0)

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


def write_with_holes(path: Path, parts: dict[int, bytes], size: int) -> None:
    with path.open("wb") as file:
        for offset, data in parts.items():
            file.seek(offset)
            file.write(data)
        file.truncate(size)


def fill(tree: Path) -> None:
    """Write what archives may have: names, modes, links, holes."""
    (tree / "deep" / "nested").mkdir(parents=True)
    (tree / "empty").mkdir()
    (tree / "Procfile").write_text("web: ./run.sh\n")
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "deep" / "nested" / "file").write_bytes(b"x" * 513)
    (tree / "with blank").touch()
    (tree / "é日").write_bytes(b"y" * 512)
    (tree / "data.bin").write_bytes(random.Random(1).randbytes(70_000))
    (tree / ("long" + "n" * 120)).write_text("long")
    write_with_holes(tree / "holes.bin", {500_000: b"middle", 999_000: b"x" * 1000}, 1_500_000)
    (tree / "link").symlink_to("Procfile")
    (tree / "up").symlink_to("deep/nested")
    (tree / "deep" / "back").symlink_to("../Procfile")
    (tree / "outside").symlink_to(tree.parent / "file")
    os.link(tree / "run.sh", tree / "hard1")
    os.link(tree / "run.sh", tree / "deep" / "hard2")
    for name, mode in {
        "run.sh": 0o755,
        "Procfile": 0o664,
        "data.bin": 0o600,
        "empty": 0o700,
    }.items():
        (tree / name).chmod(mode)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the tree, one of files with many holes, and a repository of the tree."""
    base = tmp_path_factory.mktemp("source")
    (base / "file").write_text("outside")
    (base / "holes").mkdir()
    parts = {number * 16_384: b"x" * (number + 1) for number in range(40)}
    write_with_holes(base / "holes" / "many", parts, 700_000)
    write_with_holes(base / "holes" / "none", {}, 100_000)
    write_with_holes(base / "holes" / "tail", {65_536: b"end"}, 65_539)
    fill(base / "tree")
    if shutil.which("git"):
        git = f"git -c user.name=a -c user.email=a@b --git-dir={base}/repository --work-tree=."
        script = f"{git} init -q && {git} add -A && {git} commit -qm x"
        subprocess.run(["sh", "-ec", script], cwd=base / "tree", env=ENVIRONMENT, check=True)
    return base


def describe(tree: Path) -> dict[str, object]:
    """Path → what there is; modes as they are after unpacking, hard links by their first name."""
    found: dict[str, object] = {}
    names: dict[int, list[str]] = defaultdict(list)
    for path in sorted(tree.rglob("*")):
        name, status = str(path.relative_to(tree)), path.lstat()
        if stat.S_ISLNK(status.st_mode):
            found[name] = str(path.readlink())
        elif stat.S_ISDIR(status.st_mode):
            found[name] = status.st_mode & 0o755 | 0o700
        else:
            names[status.st_ino].append(name)
            content = path.read_bytes()
            found[name] = (status.st_mode & 0o755 | 0o600, names[status.st_ino][0], content)
    return found


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(archive, id=archive.what, marks=[pytest.mark.slow] * archive.is_slow)
        for archive in REAL_ARCHIVES
    ],
)
def test_an_archive_of_a_real_program(archive: RealArchive, source: Path, tmp_path: Path) -> None:
    """File by file, with links, holes and modes."""
    if missing := [tool for tool in archive.tools if not shutil.which(tool)]:
        pytest.skip(f"there is no {' and no '.join(missing)}")
    for name in ("tmp", "theirs", "ours"):
        (tmp_path / name).mkdir()
    file = tmp_path / "archive.zip"  # a name without a dot would get one from zip
    env = {**ENVIRONMENT, "out": str(file), "tmp": str(tmp_path / "tmp"), "base": str(source)}

    def run(script: str, directory: Path) -> None:
        done = subprocess.run(
            ["sh", "-ec", script],
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,  # The output says more.
            umask=0o022,
        )
        assert done.returncode == 0, done.stderr + done.stdout

    run(archive.script, source / "tree")
    if archive.error:
        with pytest.raises(SourceError) as info:
            unpack(file, tmp_path / "ours", LIMITS, lambda: None)
        assert archive.error in str(info.value)
        assert archive.documented in " ".join(DOCUMENTATION.read_text(encoding="utf-8").split())
        return
    run(archive.unpack, tmp_path / "theirs")
    unpack(file, tmp_path / "ours", LIMITS, lambda: None)
    assert describe(tmp_path / "ours") == describe(tmp_path / "theirs")


def test_there_are_many() -> None:
    """Each is another one."""
    assert len({archive.what for archive in REAL_ARCHIVES}) == len(REAL_ARCHIVES) >= 200

"""The builders of an agent: which apps they want, what they run, and which version they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smartmob_agent.build.builders import OperatorBuilder, open_builders
from smartmob_agent.build.seam import BuildDirectories, Builder
from smartmob_agent.errors import BuildError, StartError

DIRECTORIES = BuildDirectories(
    app=Path("/app"), env=Path("/env"), cache=Path("/cache"), writable=(Path("/"), Path("/cache"))
)


def make_builder(directory: Path) -> Path:
    directory.mkdir()
    for name in ("detect", "build"):
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    return directory


async def test_the_operators_builders_come_first(tmp_path: Path) -> None:
    mine = make_builder(tmp_path / "mine")
    builders = await open_builders([mine], {"PATH": "/usr/bin"})
    assert [builder.name for builder in builders] == ["mine", "python", "node"]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"uv.lock", "pyproject.toml"}, "python"),
        ({"requirements.txt", "package.json"}, "python"),
        ({"pyproject.toml"}, "python"),
        ({"package.json"}, "node"),
        ({"Procfile", "Gemfile"}, None),
        ({"runtime.txt"}, None),
    ],
)
async def test_the_names_of_files_say_who_builds(files: set[str], name: str | None) -> None:
    builders = await open_builders([], {})
    assert next((one.name for one in builders if one.wants(files)), None) == name


async def test_a_built_in_builder_runs_without_what_surrounds_it() -> None:
    python, node = await open_builders([], {})
    argv = python.build_command(DIRECTORIES)
    assert argv[:3] == (sys.executable, "-I", "-c")
    assert argv[-4:] == ("smartmob_agent.build.programs.python", "/app", "/env", "/cache")
    assert node.build_command(DIRECTORIES)[-4] == "smartmob_agent.build.programs.node"


async def test_a_tool_that_changes_is_another_version(tmp_path: Path) -> None:
    versions = set()
    for content in ("", "#!/bin/sh\n", "#!/bin/sh\n\n"):
        if content:
            (tmp_path / "npm").write_text(content)
            (tmp_path / "npm").chmod(0o755)
        _, node = await open_builders([], {"PATH": str(tmp_path)})
        versions.add(await node.version())
    assert len(versions) == 3


async def test_a_program_that_is_not_there_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the agent is in an archive."""
    _, node = await open_builders([], {"PATH": ""})
    before = await node.version()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert await node.version() != before


async def test_an_operators_builder_is_two_programs(tmp_path: Path) -> None:
    operators = OperatorBuilder(directory=make_builder(tmp_path / "mine"))
    operators.check()
    builder: Builder = operators
    assert builder.wants({"any"}) is None
    assert builder.detect_command(Path("/app")) == (f"{tmp_path}/mine/detect", "/app")
    assert builder.build_command(DIRECTORIES)[5:] == (
        "smartmob_agent.build.programs.confine",
        *("/", "/cache", "--"),
        *(f"{tmp_path}/mine/build", "/app", "/env", "/cache"),
    )


async def test_an_operators_builder_has_the_version_of_its_files(tmp_path: Path) -> None:
    builder = OperatorBuilder(directory=make_builder(tmp_path / "mine"))
    first = await builder.version()
    assert await builder.version() == first
    (tmp_path / "mine" / "lib").write_text("x")
    second = await builder.version()
    (tmp_path / "mine" / "lib").write_text("y")
    assert len({first, second, await builder.version()}) == 3
    (tmp_path / "mine" / "lib").unlink()
    (tmp_path / "mine" / "lib").symlink_to("/proc/self/mem")
    with pytest.raises(BuildError, match="the builder 'mine' cannot be read"):
        await builder.version()


def remove(path: Path) -> None:
    path.unlink()


def make_text(path: Path) -> None:
    path.write_text("echo hello\n")


def make_plain(path: Path) -> None:
    path.chmod(0o644)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (remove, "detect: No such file or directory"),
        (make_text, "expected an executable program 'detect'"),
        (make_plain, "expected an executable program 'detect'"),
    ],
)
async def test_what_is_no_builder_is_refused_at_once(
    spoil: Callable[[Path], None], error: str, tmp_path: Path
) -> None:
    mine = make_builder(tmp_path / "mine")
    spoil(mine / "detect")
    with pytest.raises(StartError, match=error):
        await open_builders([mine], dict(os.environ))

"""The builders of an agent: those of its operator, Python and Node."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import attrs
import trio

import smartmob_agent
from smartmob_agent.build.seam import BuildDirectories, Builder
from smartmob_agent.errors import BuildError, StartError

__all__ = ["BuiltInBuilder", "OperatorBuilder", "open_builders"]

_RUN = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
"""Run a module of ours in an isolated interpreter, which finds us wherever we are."""

_EXECUTABLE_START = (b"#!", b"\x7fELF")

FILES = 1000
"""In the directory of an operator's builder: it is programs, not data."""


@attrs.frozen(kw_only=True)
class BuiltInBuilder:
    """A builder that comes with the agent.

    files: one of them at the top of an app makes it its own.
    module: the program.
    tools: whose versions matter: those beside the agent and those on `path`.
    """

    name: str
    files: frozenset[str]
    module: str
    tools: tuple[str, ...]
    path: str

    def wants(self, files: Collection[str]) -> bool:
        return not self.files.isdisjoint(files)

    def detect_command(self, app: Path) -> tuple[str, ...]:  # pragma: no cover  -- `wants` knows
        raise NotImplementedError

    def build_command(self, directories: BuildDirectories) -> tuple[str, ...]:
        return _confined((*_program(self.module), *_places(directories)), directories)

    async def version(self) -> str:
        return await trio.to_thread.run_sync(self._version)

    def _version(self) -> str:
        paths = [Path(sys.executable), *map(Path(sys.executable).with_name, self.tools)]
        spec = importlib.util.find_spec(self.module)
        if spec is not None and spec.origin is not None:
            paths.append(Path(spec.origin))
        paths += [Path(tool) for name in self.tools if (tool := shutil.which(name, path=self.path))]
        return "\n".join(map(_identity, paths))


def _program(module: str) -> tuple[str, ...]:
    """Program and first arguments that run a module of ours."""
    home = Path(smartmob_agent.__file__).parent.parent
    return sys.executable, "-I", "-c", _RUN, str(home), module


def _places(directories: BuildDirectories) -> tuple[str, ...]:
    return str(directories.app), str(directories.env), str(directories.cache)


def _confined(argv: tuple[str, ...], directories: BuildDirectories) -> tuple[str, ...]:
    """Let a program write in its directories alone, where the kernel can see to that."""
    writable = map(str, directories.writable)
    return (*_program("smartmob_agent.build.programs.confine"), *writable, "--", *argv)


def _identity(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return str(path)
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"


@attrs.frozen(kw_only=True)
class OperatorBuilder:
    """A builder in a directory, with the programs `detect` and `build`."""

    directory: Path

    @property
    def name(self) -> str:
        return self.directory.name

    def wants(self, files: Collection[str]) -> None:  # noqa: ARG002  # its program looks
        return None

    def detect_command(self, app: Path) -> tuple[str, ...]:
        return str(self.directory / "detect"), str(app)

    def build_command(self, directories: BuildDirectories) -> tuple[str, ...]:
        argv = (str(self.directory / "build"), *_places(directories))
        return _confined(argv, directories)

    async def version(self) -> str:
        """Return a digest of all its files."""
        try:
            return await trio.to_thread.run_sync(self._digest)
        except OSError as exc:
            raise BuildError(f"the builder {self.name!r} cannot be read: {exc}") from exc

    def check(self) -> None:
        """Raise `StartError` if it has no programs."""
        for name in ("detect", "build"):
            program = self.directory / name
            try:
                with program.open("rb") as file:
                    is_program = file.read(4).startswith(_EXECUTABLE_START)
            except OSError as exc:
                raise StartError(f"--builder {self.directory}: {name}: {exc.strerror}") from exc
            if not (is_program and os.access(program, os.X_OK)):
                raise StartError(
                    f"--builder {self.directory}: expected an executable program {name!r}, "
                    "with #! and an interpreter in its first line if it is a script"
                )

    def _digest(self) -> str:
        digest = hashlib.sha256()
        files = sorted(path for path in self.directory.rglob("*") if path.is_file())
        for path in files[:FILES]:
            digest.update(f"{path}\0{path.stat().st_mode}\0".encode("utf-8", "surrogateescape"))
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


async def open_builders(
    directories: Sequence[Path], environ: Mapping[str, str]
) -> tuple[Builder, ...]:
    """Return the operator's builders, and those that come with the agent.

    Raises `StartError` for a directory that is no builder.
    """
    operators = [OperatorBuilder(directory=path.absolute()) for path in directories]
    for builder in operators:
        await trio.to_thread.run_sync(builder.check)
    path = environ.get("PATH", os.defpath)
    return (
        *operators,
        BuiltInBuilder(
            name="python",
            files=frozenset({"uv.lock", "pyproject.toml", "requirements.txt"}),
            module="smartmob_agent.build.programs.python",
            tools=("python3", "uv"),
            path=path,
        ),
        BuiltInBuilder(
            name="node",
            files=frozenset({"package.json"}),
            module="smartmob_agent.build.programs.node",
            tools=("node", "npm"),
            path=path,
        ),
    )

"""Installs what a Python app needs, in a virtual environment of its own: `.venv`.

By uv where there is one, else by venv and pip of the chosen interpreter.  None is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from smartmob_agent.build.programs.steps import (
    BuildFailedError,
    run,
    run_program,
    tell,
    write_variable,
)

__all__ = ["build"]

VENV = ".venv"

TRAMPOLINE = (
    "#!/bin/sh\n"
    '\'\'\'exec\' "$(dirname -- "$(realpath -- "$0")")"/\'{name}\' "$0" "$@"\n'
    "' '''\n"
)
"""Two lines that a shell runs and Python reads as a string: a script finds the interpreter beside
itself, wherever it is."""

VERSION = re.compile(r"(?:python-|cpython-|cpython@)?(\d+)(?:\.(\d+))?(?:\.(\d+))?\s*")

ASK = (
    "import sys; print(getattr(sys, '_base_executable', None) or sys.executable); "
    "print(*sys.version_info[:3], sep='.')"
)
ASK_TIMEOUT = 20.0


def build(app: Path, env: Path, cache: Path) -> None:
    """Install; raises `BuildFailedError`."""
    uv = _find_uv()
    os.environ.update(_settings(cache))
    if ssl.get_default_verify_paths().cafile is not None:
        # The machine's authorities, as for pip; uv has its own else.
        for name in ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"):
            os.environ.setdefault(name, "1")
    venv = app / VENV
    if venv.is_symlink() or venv.exists():  # Of another machine: it came with the archive.
        _remove(venv)
    python = _find_python(app)
    if (app / "uv.lock").exists():
        _sync(venv, uv, python)
    elif uv is not None:
        _install_by_uv(app, venv, uv, python)
    else:
        _install_by_pip(app, venv, python)
    _collect_static(app, venv)
    write_variable(env, "VIRTUAL_ENV", f"$APP_DIR/{VENV}")
    write_variable(env, "PATH.prepend", f"$APP_DIR/{VENV}/bin")


def _find_uv() -> str | None:
    """Return the uv of the extra `build`, which is beside the agent, else the one on the PATH."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def _settings(cache: Path) -> dict[str, str]:
    """Variables for uv and pip."""
    return {
        "PIP_CACHE_DIR": str(cache / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_ROOT_USER_ACTION": "ignore",
        "UV_CACHE_DIR": str(cache / "uv"),
        "UV_COMPILE_BYTECODE": "1",
        "UV_LINK_MODE": "copy",  # The cache and what is built share no file.
        "UV_NO_PROGRESS": "1",
        "UV_PROJECT_ENVIRONMENT": VENV,
        "UV_PYTHON_DOWNLOADS": "never",
    }


def _sync(venv: Path, uv: str | None, python: str | None) -> None:
    """Install what uv.lock says."""
    if uv is None:
        raise BuildFailedError(
            "uv.lock needs uv: install it with the agent (pip install 'smartmob-agent[build]'), "
            "or on the PATH of the agent"
        )
    tell(f"Installing by {_version_of(uv)} what uv.lock says")
    run([uv, "venv", "--quiet", "--relocatable", *_choice(python), str(venv)])
    # Nothing editable: that would name the place at which it is built.
    run([uv, "sync", "--locked", "--no-dev", "--no-editable", *_choice(python)])


def _install_by_uv(app: Path, venv: Path, uv: str, python: str | None) -> None:
    run([uv, "venv", "--quiet", "--relocatable", *_choice(python or _own_python()), str(venv)])
    what = _requirements(app)
    tell(f"Installing by {_version_of(uv)} what {what[-1]} says")
    run([uv, "pip", "install", "--python", str(venv / "bin" / "python"), *what])


def _install_by_pip(app: Path, venv: Path, python: str | None) -> None:
    chosen = python or _own_python()
    try:
        run([chosen, "-m", "venv", str(venv)])
    except BuildFailedError as exc:
        raise BuildFailedError(
            f"{chosen} cannot make virtual environments: install its venv module (Debian: apt "
            "install python3-venv), or uv with the agent (pip install 'smartmob-agent[build]')"
        ) from exc
    what = _requirements(app)
    tell(f"Installing by pip what {what[-1]} says")
    run([str(venv / "bin" / "python"), "-m", "pip", "install", *what])
    _make_relocatable(venv)


def _requirements(app: Path) -> list[str]:
    """Arguments of `pip install`: requirements.txt, else what pyproject.toml says."""
    if (app / "requirements.txt").exists():
        return ["-r", "requirements.txt"]
    document = _read_pyproject(app)
    if "build-system" in document:
        return ["."]
    needs = document.get("project", {}).get("dependencies", [])
    file = Path(os.environ["TMPDIR"]) / "pyproject.toml"
    file.write_text("".join(f"{need}\n" for need in needs), encoding="utf-8")
    return ["-r", str(file)]


def _read_pyproject(app: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((app / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BuildFailedError(f"pyproject.toml cannot be read: {exc}") from exc


def _collect_static(app: Path, venv: Path) -> None:
    """Collect the static files of a Django app that has any, as Heroku does."""
    if not (app / "manage.py").is_file() or "DISABLE_COLLECTSTATIC" in os.environ:
        return
    if not any(venv.glob("lib/python*/site-packages/django/__init__.py")):
        return
    manage = [str(venv / "bin" / "python"), "manage.py"]
    known = subprocess.run(
        [*manage, "help", "collectstatic"],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if known.returncode:
        tell("Collecting no static files: manage.py has no command 'collectstatic'")
        return
    tell("Collecting static files")
    run([*manage, "collectstatic", "--noinput"])


# Interpreters


def _find_python(app: Path) -> str | None:
    """Return the interpreter that the app asks for; None if it asks for none."""
    for name in (".python-version", "runtime.txt"):
        if (text := _first_line(app / name)) is not None:
            match = VERSION.fullmatch(text)
            if match is None:
                raise BuildFailedError(f"{name}: expected a version such as 3.12, found {text!r}")
            return _find_version(name, text, [int(part) for part in match.groups() if part])
    return None


def _first_line(path: Path) -> str | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise BuildFailedError(f"{path.name} cannot be read: {exc}") from exc
    said = [line.partition("#")[0].strip() for line in lines]
    return next(filter(None, said), None)


def _find_version(name: str, text: str, wanted: Sequence[int]) -> str:
    """Return the best interpreter of a version: the same patch release, else the latest."""
    series = list(wanted[:2])
    found: list[tuple[tuple[int, ...], str]] = []
    for candidate in _candidates(".".join(map(str, series))):
        version, path = _ask(candidate)
        if list(version[: len(series)]) == series and version >= (3, 8):
            found.append((version, path))
            if len(wanted) < 3 or list(version) == list(wanted):
                break
    if not found:
        number = ".".join(map(str, series))
        raise BuildFailedError(
            f"{name} asks for Python {text}, and this machine has none: install it (Debian: apt "
            f"install python{number} python{number}-venv; or uv python install {number}) so that "
            "it is on the PATH of the agent, or change the file"
        )
    exact = [path for version, path in found if list(version) == list(wanted)]
    version, path = max(found)
    if exact:
        return exact[0]
    if len(wanted) == 3:
        tell(f"{name} asks for Python {text}; taking {'.'.join(map(str, version))} of this machine")
    return path


def _candidates(number: str) -> Iterator[str]:
    yield _own_python()
    for name in (f"python{number}", "python3", "python"):
        for directory in os.environ.get("PATH", "").split(os.pathsep):
            if directory and (path := shutil.which(name, path=directory)):
                yield path


def _own_python() -> str:
    """The interpreter of this program, which is the agent's, outside of any environment."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def _ask(python: str) -> tuple[tuple[int, ...], str]:
    """Return the version of an interpreter and its path; no version if it is none."""
    try:
        answer = subprocess.run(
            [python, "-I", "-c", ASK],
            capture_output=True,
            text=True,
            timeout=ASK_TIMEOUT,
            check=True,
            stdin=subprocess.DEVNULL,
        ).stdout.splitlines()
        return tuple(map(int, answer[1].split("."))), answer[0]
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return (), python


def _choice(python: str | None) -> list[str]:
    return [] if python is None else ["--python", python]


def _version_of(uv: str) -> str:
    answer = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "uv"


# Environments that can be moved


def _make_relocatable(venv: Path) -> None:
    """Let scripts find the interpreter beside themselves, not where it is now."""
    for path in (venv / "bin").iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        name = _interpreter_of(data, venv)
        if name is not None:
            _, _, rest = data.partition(b"\n")
            if data.startswith(b"#!/bin/sh"):  # pip's own, for a long path: three lines.
                rest = data.split(b"\n", 3)[3]
            path.write_bytes(TRAMPOLINE.format(name=name).encode() + rest)


def _interpreter_of(data: bytes, venv: Path) -> str | None:
    """Name of the interpreter in an environment that a script is for; None if it is for none."""
    start = os.fsencode(venv / "bin")
    head = b"\n".join(data.split(b"\n", 2)[:2])
    match = re.match(rb"#!(?:/bin/sh\n'''exec' )?\"?" + re.escape(start) + rb"/([\w.]+)", head)
    return match[1].decode("ascii") if match else None


def _remove(path: Path) -> None:
    tell(f"Leaving out {path.name}, which came with the archive")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


if __name__ == "__main__":  # pragma: no cover  -- in a program of its own
    run_program(build)

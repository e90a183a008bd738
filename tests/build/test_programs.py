"""The programs for Python and Node, step by step; that they build real apps is in tests/e2e."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from smartmob_agent.build.programs import node, python, steps
from smartmob_agent.build.programs.steps import BuildFailedError


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An app's directory, in which the program runs."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "env").mkdir()
    directory = tmp_path / "app"
    directory.mkdir()
    before = dict(os.environ)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NODE_ENV", raising=False)
    monkeypatch.chdir(directory)
    yield directory
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


class Tools:
    """Programs that note what they are called with.

    fails: the name of the one that fails.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        directory.mkdir()
        self.log.touch()

    def add(self, name: str, script: str = "") -> str:
        path = self.directory / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{script}\n')
        path.chmod(0o755)
        return str(path)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    tools = Tools(tmp_path / "tools")
    monkeypatch.setenv("PATH", f"{tools.directory}:/usr/bin:/bin")
    return tools


def run_python(app: Path, monkeypatch: pytest.MonkeyPatch, uv: str | None) -> None:
    monkeypatch.setattr(python, "_find_uv", lambda: uv)
    python.build(app, app.parent / "env", app.parent / "cache")


def written(app: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (app.parent / "env").iterdir()}


def test_a_lock_file_of_uv_is_taken_as_it_is(
    app: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    (app / "uv.lock").touch()
    (app / "requirements.txt").touch()
    run_python(app, monkeypatch, tools.add("uv"))
    assert tools.calls == [
        "uv --version",
        f"uv venv --quiet --relocatable {app}/.venv",
        "uv sync --locked --no-dev --no-editable",
    ]
    assert written(app) == {
        "PATH.prepend": "$APP_DIR/.venv/bin",
        "VIRTUAL_ENV": "$APP_DIR/.venv",
    }


@pytest.mark.parametrize("known", [True, False])
def test_uv_trusts_whom_the_machine_trusts(
    app: Path, tools: Tools, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it has authorities of its own."""
    paths = SimpleNamespace(cafile="/some.pem" if known else None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.delenv("UV_SYSTEM_CERTS", raising=False)
    (app / "requirements.txt").touch()
    run_python(app, monkeypatch, tools.add("uv"))
    assert os.environ.get("UV_SYSTEM_CERTS") == ("1" if known else None)


def test_a_lock_file_of_uv_needs_uv(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (app / "uv.lock").touch()
    with pytest.raises(BuildFailedError, match=r"pip install 'smartmob-agent\[build\]'"):
        run_python(app, monkeypatch, None)


def test_requirements_are_installed_by_uv(
    app: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the agent's own interpreter, if the app asks for none."""
    (app / "requirements.txt").touch()
    (app / "pyproject.toml").write_text("[build-system]\n")
    run_python(app, monkeypatch, tools.add("uv"))
    own = python._own_python()
    assert tools.calls == [
        f"uv venv --quiet --relocatable --python {own} {app}/.venv",
        "uv --version",
        f"uv pip install --python {app}/.venv/bin/python -r requirements.txt",
    ]


@pytest.mark.parametrize(
    ("document", "arguments"),
    [
        ("[build-system]\nrequires = []\n", "."),
        ('[project]\nname = "x"\ndependencies = ["a", "b>1"]\n', "-r {tmp}/pyproject.toml"),
        ("[tool.ruff]\n", "-r {tmp}/pyproject.toml"),
    ],
)
def test_a_project_is_installed_or_what_it_depends_on(
    app: Path, tools: Tools, document: str, arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (app / "pyproject.toml").write_text(document)
    run_python(app, monkeypatch, tools.add("uv"))
    expected = arguments.format(tmp=app.parent / "tmp")
    assert tools.calls[-1] == f"uv pip install --python {app}/.venv/bin/python {expected}"
    if "dependencies" in document:
        assert (app.parent / "tmp" / "pyproject.toml").read_text() == "a\nb>1\n"


@pytest.mark.parametrize("document", [b"[", b"\xff"])
def test_a_broken_pyproject_is_told(
    app: Path, tools: Tools, document: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (app / "pyproject.toml").write_bytes(document)
    with pytest.raises(BuildFailedError, match=r"pyproject\.toml cannot be read"):
        run_python(app, monkeypatch, tools.add("uv"))


def test_without_uv_there_are_venv_and_pip(
    app: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tools.add("python-of-ours", 'mkdir -p "$3/bin"; cp "$0" "$3/bin/python"')
    monkeypatch.setattr(python, "_own_python", lambda: fake)
    (app / "requirements.txt").touch()
    run_python(app, monkeypatch, None)
    assert tools.calls == [
        f"python-of-ours -m venv {app}/.venv",
        "python-of-ours -m pip install -r requirements.txt",
    ]


def test_an_interpreter_without_venv_is_told(
    app: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Debian's without a package of its own."""
    fake = tools.add("python-of-ours", "exit 1")
    monkeypatch.setattr(python, "_own_python", lambda: fake)
    (app / "requirements.txt").touch()
    with pytest.raises(BuildFailedError, match="apt install python3-venv"):
        run_python(app, monkeypatch, None)


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_an_environment_in_the_archive_is_left_out(
    app: Path, tools: Tools, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a link leads to stays."""
    (app.parent / "elsewhere").mkdir()
    (app.parent / "elsewhere" / "file").touch()
    if kind == "link":
        (app / ".venv").symlink_to("../elsewhere")
    else:
        (app / ".venv" / "bin").mkdir(parents=True)
    (app / "requirements.txt").touch()
    run_python(app, monkeypatch, tools.add("uv"))
    assert not (app / ".venv").is_symlink()
    assert not (app / ".venv" / "bin").exists()
    assert (app.parent / "elsewhere" / "file").exists()


def test_the_uv_beside_the_agent_comes_first(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = tools.add("uv")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert python._find_uv() == on_path
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").touch()
    assert python._find_uv() == str(tmp_path / "bin" / "uv")


@pytest.mark.parametrize(
    ("help_code", "disabled", "calls"),
    [
        (
            0,
            False,
            ["python manage.py help collectstatic", "python manage.py collectstatic --noinput"],
        ),
        (1, False, ["python manage.py help collectstatic"]),
        (0, True, []),
    ],
)
def test_static_files_of_django_are_collected(
    app: Path,
    tools: Tools,
    help_code: int,
    disabled: bool,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If there is Django, and it can."""
    if disabled:
        monkeypatch.setenv("DISABLE_COLLECTSTATIC", "1")
    tools.add("python", f'[ "$2" != help ] || exit {help_code}')
    packages = app / ".venv" / "lib" / "python3" / "site-packages" / "django"
    python._collect_static(app, app / ".venv")
    (app / "manage.py").touch()
    python._collect_static(app, app / ".venv")
    packages.mkdir(parents=True)
    (packages / "__init__.py").touch()
    (app / ".venv" / "bin").symlink_to(tools.directory)
    python._collect_static(app, app / ".venv")
    assert tools.calls == calls


# Versions of Python


def add_python(tools: Tools, name: str, version: str) -> str:
    return tools.add(name, f"echo /opt/{name}; echo {version}")


@pytest.mark.parametrize(
    ("name", "text", "path"),
    [
        (".python-version", "3.99\n", "/opt/python3.99"),
        (".python-version", "# which\n\n3.99  # this\n3.98\n", "/opt/python3.99"),
        ("runtime.txt", "python-3.99.4", "/opt/python3.99"),
        ("runtime.txt", "python-3.99.9\n", "/opt/python3.99"),
        ("runtime.txt", "cpython-3.99", "/opt/python3.99"),
        (".python-version", "2", None),
        ("runtime.txt", "python-3.97.1", None),
    ],
)
def test_an_app_chooses_an_interpreter(
    app: Path, tools: Tools, name: str, text: str, path: str | None
) -> None:
    """Another patch release will do."""
    add_python(tools, "python3.99", "3.99.4")
    tools.add("python3.97", "exit 1")
    add_python(tools, "python2", "2.7.18")
    (app / name).write_text(text)
    if path is None:
        with pytest.raises(
            BuildFailedError, match=r"asks for Python .*, and this machine has none"
        ):
            python._find_python(app)
    else:
        assert python._find_python(app) == path


def test_the_agents_own_interpreter_is_one_of_them(app: Path) -> None:
    (app / ".python-version").write_text(".".join(map(str, sys.version_info[:2])))
    assert python._find_python(app) == python._own_python()


@pytest.mark.parametrize(
    ("text", "error"),
    [(b"latest", "expected a version such as 3.12"), (b"\xff", "cannot be read")],
)
def test_what_is_no_version_is_told(app: Path, text: bytes, error: str) -> None:
    (app / "runtime.txt").write_bytes(text)
    with pytest.raises(BuildFailedError, match=error):
        python._find_python(app)


def test_an_empty_file_asks_for_nothing(app: Path) -> None:
    (app / "runtime.txt").touch()
    assert python._find_python(app) is None


def test_scripts_of_pip_find_their_interpreter_wherever_they_are(tmp_path: Path) -> None:
    """Those with a short path and with a long one; links and others stay as they are."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    body = "import sys; print(sys.argv[1])\n"
    (venv / "bin" / "short").write_text(f"#!{venv}/bin/python\n{body}")
    long = f"#!/bin/sh\n'''exec' \"{venv}/bin/python\" \"$0\" \"$@\"\n' '''\n{body}"
    (venv / "bin" / "long").write_text(long)
    (venv / "bin" / "shell").write_text("#!/bin/sh\necho shell\n")
    for name in ("short", "long", "shell"):
        (venv / "bin" / name).chmod(0o755)
    python._make_relocatable(venv)
    moved = venv.rename(tmp_path / "moved here")
    for name in ("short", "long"):
        result = subprocess.run([moved / "bin" / name, "it works"], capture_output=True, text=True)
        assert (result.stdout, result.stderr) == ("it works\n", "")
    assert (moved / "bin" / "shell").read_text() == "#!/bin/sh\necho shell\n"


# Node


def run_node(app: Path) -> None:
    node.build(app, app.parent / "env", app.parent / "cache")


@pytest.mark.parametrize(
    ("files", "install"),
    [
        (["package-lock.json"], "npm ci --include=dev"),
        (["npm-shrinkwrap.json"], "npm ci --include=dev"),
        ([], "npm install --include=dev"),
    ],
)
def test_a_lock_file_of_npm_is_taken_as_it_is(
    app: Path, tools: Tools, files: list[str], install: str
) -> None:
    tools.add("node")
    tools.add("npm")
    (app / "package.json").write_text("{}")
    for name in files:
        (app / name).touch()
    run_node(app)
    assert tools.calls == [install]
    assert written(app) == {
        "NODE_ENV": "production",
        "PATH.prepend": "$APP_DIR/node_modules/.bin",
    }


@pytest.mark.parametrize(
    ("scripts", "script"),
    [
        ({"build": "x"}, "build"),
        ({"build": "x", "heroku-postbuild": "y"}, "heroku-postbuild"),
    ],
)
@pytest.mark.parametrize("mode", ["production", "development", None])
def test_a_build_script_runs_with_what_it_needs(
    app: Path,
    tools: Tools,
    scripts: dict[str, str],
    script: str,
    mode: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Development dependencies are removed after it."""
    tools.add("node")
    tools.add("npm", "mkdir -p node_modules")
    if mode is not None:
        monkeypatch.setenv("NODE_ENV", mode)
    (app / "package.json").write_text(json.dumps({"scripts": scripts}))
    run_node(app)
    pruned = [] if mode == "development" else ["npm prune --omit=dev --ignore-scripts"]
    assert tools.calls == ["npm install --include=dev", f"npm run {script}", *pruned]


def test_without_node_it_is_said_how_to_get_it(
    app: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tools.directory))
    tools.add("npm")
    with pytest.raises(BuildFailedError, match="apt install nodejs npm"):
        run_node(app)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", "cannot be read"),
        ("[]", "expected an object"),
        ('{"scripts": 1}', "expected an object"),
    ],
)
def test_a_broken_package_json_is_told(app: Path, tools: Tools, text: str, error: str) -> None:
    tools.add("node")
    tools.add("npm")
    (app / "package.json").write_text(text)
    with pytest.raises(BuildFailedError, match=error):
        run_node(app)


# Steps


def test_a_step_that_fails_is_told(tools: Tools) -> None:
    with pytest.raises(BuildFailedError, match="fail a b c: ended with 3"):
        steps.run([tools.add("fail", "exit 3"), "a", "b", "c", "d"])
    with pytest.raises(BuildFailedError, match="cannot run /no/such: No such file"):
        steps.run(["/no/such"])


def test_a_program_ends_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(app: Path, env: Path, cache: Path) -> None:
        raise BuildFailedError(f"{app} {env} {cache}")

    monkeypatch.setattr(sys, "argv", ["program", "/app", "/env", "/cache"])
    with pytest.raises(SystemExit) as caught:
        steps.run_program(fail)
    assert caught.value.code == 1
    assert capfd.readouterr().err == "-----> /app /env /cache\n"
    monkeypatch.setattr(sys, "argv", ["program", "/app", "/env", "/cache"])
    steps.run_program(lambda app, env, cache: None)


# Confinement


def confined(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smartmob_agent.build.programs.confine", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_confined_program_is_that_program(tmp_path: Path) -> None:
    result = confined(
        str(tmp_path), "/no/such/directory", "--", "sh", "-c", "echo $0 $1; exit 7", "a"
    )
    assert (result.returncode, result.stdout, result.stderr) == (7, "a\n", "")


@pytest.mark.parametrize(
    ("program", "code", "error"),
    [
        ("/no/such", 127, "cannot run /no/such: No such file or directory\n"),
        ("/etc/passwd", 126, "cannot run /etc/passwd: Permission denied\n"),
    ],
)
def test_what_is_no_program_is_told(program: str, code: int, error: str) -> None:
    result = confined("--", program)
    assert (result.returncode, result.stderr) == (code, error)

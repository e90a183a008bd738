"""Builds by the real agent: real tools, operators' builders, and builds that misbehave.

No test but the last ones needs a registry: packages are made here.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.e2e.agent import RunningAgent, alive, archive_server, run_to_end, running_agent, tar_gz

pytestmark = pytest.mark.slow

UV = Path(sys.executable).with_name("uv")
App = Mapping[str, bytes | str]
PROCFILE = "web: exec sleep 1000\n"
BUILD_LIMIT = 240.0
"""Seconds for a test in which pip or npm make something: on a busy machine a venv takes ten."""


def make_builder(directory: Path, build: str, detect: str = "exit 0") -> str:
    """Write a builder of two shell scripts; return the option."""
    directory.mkdir()
    for name, script in (("detect", detect), ("build", build)):
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return f"--builder={directory}"


def make_wheel(
    name: str, files: Mapping[str, str], *, version: str = "1", script: str = ""
) -> bytes:
    """Make a package; `script` is what its console script of the same name calls."""
    info = f"{name}-{version}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members = {
        **files,
        f"{info}/METADATA": about,
        f"{info}/WHEEL": tags,
        f"{info}/RECORD": "",
    }
    if script:
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {script}\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        for path, text in members.items():
            wheel.writestr(path, text)
    return buffer.getvalue()


GREETER = make_wheel(
    "greeter",
    {
        "greeter.py": "import sys, time\n\ndef main():\n"
        "    print('greetings from', sys.prefix, flush=True)\n    time.sleep(1000)\n"
    },
    script="greeter:main",
)
GREETER_FILE = "vendor/greeter-1-py3-none-any.whl"


@asynccontextmanager
async def deployed(
    app: App | bytes, *options: str, count: int = 1, **fields: Any
) -> AsyncIterator[RunningAgent]:
    """Run an agent with processes `app0.web.0` and so on of one app."""
    async with archive_server() as server, running_agent(*options, limit=BUILD_LIMIT) as agent:
        url = server.add("app", app if isinstance(app, bytes) else tar_gz(app))
        for number in range(count):
            await agent.create(url, app=f"app{number}", **fields)
        yield agent


async def outcome(agent: RunningAgent, slug: str = "app0.web.0") -> dict[str, Any]:
    """Wait until a process runs or has failed; return its status."""
    position = 0
    while True:
        event = await agent.wait_event(after=position, event="state", slug=slug)
        position = agent.events.index(event) + 1
        if event["state"] == "running" or event["state"].endswith(("failure", "backoff")):
            return await agent.status(slug)


async def until(holds: Callable[[], object]) -> None:
    """Wait for a fact of the disk or of the kernel, which nobody tells."""
    while not holds():  # noqa: ASYNC110  # nothing to wait for
        await trio.sleep(0.02)


async def first_line(agent: RunningAgent, slug: str, start: str) -> str:
    """Wait for a line of the console that begins with a text."""
    while True:
        log = (await agent.client.get(f"/process-log/{slug}")).text
        for line in log.splitlines():
            if line.startswith(start):
                return line
        await trio.sleep(0.05)


# Operators' builders


async def test_a_builder_of_the_operator_installs_what_an_app_needs(tmp_path: Path) -> None:
    """Each process has a copy of its own, with its own path in variables and scripts."""
    build = (
        'echo "building in $HOME"; [ "$PWD" = "$1" ] || exit 9; [ -f Procfile ] || exit 8\n'
        'mkdir bin; echo "#!$1/interpreter" > bin/tool; chmod +x bin/tool\n'
        'echo "#!/bin/sh" > interpreter; echo "echo tool of $1; exec sleep 1000" >> interpreter\n'
        'chmod +x interpreter; echo "\\$APP_DIR/bin" > "$2/PATH.prepend"\n'
        'touch "$HOME/x" "$TMPDIR/y"\n'
        'printf once >> "$3/count"; cat "$3/count" > count'
    )
    option = make_builder(tmp_path / "mine", build)
    work = f"--work-dir={tmp_path / 'work'}"
    async with deployed({"Procfile": "web: exec tool\n"}, option, work, count=3) as agent:
        statuses = [await outcome(agent, f"app{number}.web.0") for number in range(3)]
        assert [status["state"] for status in statuses] == ["running"] * 3
        builds = [status["build"] for status in statuses]
        assert sorted(build["cached"] for build in builds) == [False, True, True]
        assert {build["builder"] for build in builds} == {"mine"}
        tools = {await first_line(agent, f"app{n}.web.0", "tool of") for n in range(3)}
        assert len(tools) == 3
        roots = [Path(line.removeprefix("tool of ")) for line in tools]
        assert {(root / "count").read_text() for root in roots} == {"once"}
        await first_line(agent, "app0.web.0", "building in ")
        (roots[0] / "count").write_text("changed")
        assert (roots[1] / "count").read_text() == "once"
        for number in range(3):
            await agent.delete(f"app{number}.web.0")
        assert not any(root.exists() for root in roots)
    assert list((tmp_path / "work").iterdir()) == []


async def test_builds_outlive_the_agent_in_a_cache_of_their_own(tmp_path: Path) -> None:
    """A killed agent leaves nothing half-made in it."""
    option = make_builder(tmp_path / "mine", "echo made > made")
    slow = make_builder(tmp_path / "slow", "echo half > half; exec sleep 1000")
    archive = tar_gz({"Procfile": PROCFILE})  # Another one has another digest, by its time.
    options = [f"--cache-dir={tmp_path / 'cache'}", f"--work-dir={tmp_path / 'work'}"]
    async with deployed(archive, option, *options) as agent:
        assert (await outcome(agent))["build"]["cached"] is False
    async with deployed(archive, slow, *options) as agent:
        await agent.wait_state("app0.web.0", "building")
        half = "smartmob-agent-*/build-*/app/half"
        await until(lambda: list((tmp_path / "cache").glob(half)))
        agent.process.kill()
        await agent.process.wait()
    async with deployed(archive, option, *options) as agent:
        assert (await outcome(agent))["build"]["cached"] is True
        assert len(list((tmp_path / "cache").glob("smartmob-agent-*/*"))) == 0
    assert len(list((tmp_path / "cache" / "builds").iterdir())) == 1


async def test_a_failed_build_is_told_and_built_again_when_asked(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    option = make_builder(
        tmp_path / "mine", f"[ -e {flag} ] || {{ echo 'it needs the flag' >&2; exit 3; }}"
    )
    async with deployed({"Procfile": PROCFILE}, option) as agent:
        status = await outcome(agent)
        assert status["state"] == "build failure"
        assert status["error"].startswith("the build by 'mine' ended with exit code 3 after ")
        assert status["error"].endswith(": it needs the flag")
        flag.touch()
        answer = await agent.client.post("/restart-process/app0.web.0?wait=1", json={})
        assert (answer.status_code, answer.json()["state"]) == (200, "running")


MISBEHAVIOUR = {
    "hangs": "exec sleep 1000",
    "ignores TERM": "trap '' TERM INT HUP; while :; do sleep 0.1; done",
    "forks daemons": "for i in 1 2 3; do\n"
    "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &\n"
    "done; exec sleep 1000",
}


@pytest.mark.parametrize("script", MISBEHAVIOUR.values(), ids=MISBEHAVIOUR.keys())
async def test_deleting_a_process_ends_its_build_whatever_it_does(
    script: str, tmp_path: Path
) -> None:
    """And leaves nothing: no process, no file."""
    work, cache = tmp_path / "work", tmp_path / "cache"
    pids = cache / "builders" / "mine-0" / "pids"
    options = [
        make_builder(tmp_path / "mine", f'echo $$ > "$3/pids"\n{script}'),
        f"--work-dir={work}",
        f"--cache-dir={cache}",
    ]
    async with deployed({"Procfile": PROCFILE}, *options) as agent:
        await until(lambda: pids.exists() and pids.read_text().strip())
        await agent.delete("app0.web.0")
        assert not alive(int(pids.read_text()))
        assert processes_below(tmp_path) == []
        with trio.fail_after(10):
            await until(lambda: not list(cache.glob("smartmob-agent-*/*")))


def processes_below(directory: Path) -> list[str]:
    """Whatever runs with its working directory there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if path.readlink().is_relative_to(directory) and alive(int(path.parent.name)):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("script", MISBEHAVIOUR.values(), ids=MISBEHAVIOUR.keys())
async def test_a_build_that_takes_too_long_is_ended(script: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    options = [
        make_builder(tmp_path / "mine", f"echo waiting\n{script}"),
        f"--work-dir={work}",
        "--build-timeout=1s",
    ]
    async with deployed({"Procfile": PROCFILE}, *options) as agent:
        status = await outcome(agent)
        assert status["state"] == "build failure"
        assert status["error"] == (
            "the build by 'mine' was not done in 1 s (--build-timeout): waiting"
        )
        assert processes_below(work) == []


async def test_daemons_of_a_build_do_not_stay(tmp_path: Path) -> None:
    pids = tmp_path / "cache" / "builders" / "mine-0" / "pids"
    script = (
        "pids=$3/pids; export pids; setsid sh -c 'echo $$ > \"$pids\"; exec sleep 1000' &\n"
        'while ! [ -s "$pids" ]; do sleep 0.02; done'
    )
    options = [make_builder(tmp_path / "mine", script), f"--cache-dir={tmp_path / 'cache'}"]
    async with deployed({"Procfile": PROCFILE}, *options) as agent:
        assert (await outcome(agent))["state"] == "running"
        assert not alive(int(pids.read_text()))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, and to mount")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


async def test_a_build_that_fills_the_disk_is_ended(small_disk: Path, tmp_path: Path) -> None:
    """Some must stay free; afterwards it is as free as before."""
    option = make_builder(tmp_path / "mine", "head -c 70M /dev/zero > large; exec sleep 1000")
    options = [option, f"--work-dir={small_disk}", "--min-free-bytes=48M"]
    async with deployed({"Procfile": PROCFILE}, *options) as agent:
        status = await outcome(agent)
        assert status["state"] == "build failure"
        assert "left too little of the disk free (--min-free-bytes)" in status["error"]
        with trio.fail_after(10):
            await until(lambda: shutil.disk_usage(small_disk).free > 90 * 1024 * 1024)


async def test_what_is_no_builder_is_refused_at_the_start(tmp_path: Path) -> None:
    option = make_builder(tmp_path / "mine", "exit 0")
    (tmp_path / "mine" / "build").write_text("echo no program\n")
    result = await run_to_end("--port=0", option)
    assert result.returncode == 1
    assert b"expected an executable program 'build'" in result.stderr
    assert b"Traceback" not in result.stderr


async def test_a_builder_that_lost_its_program_fails(tmp_path: Path) -> None:
    option = make_builder(tmp_path / "mine", "exit 0", detect="exec rm -f $0")
    async with deployed({"Procfile": PROCFILE}, option, count=2) as agent:
        await outcome(agent, "app0.web.0")
        (tmp_path / "mine" / "build").unlink()
        async with archive_server() as server:
            await agent.create(server.add("other", tar_gz({"Procfile": "web: true\n"})), app="late")
            status = await outcome(agent, "late.web.0")
        assert status["state"] == "build failure"
        assert "the builder 'mine'" in status["error"]


async def test_a_build_writes_nowhere_else(tmp_path: Path) -> None:
    """Where the kernel has Landlock; its home and its temporary files are thrown away."""
    if not await trio.to_thread.run_sync(has_landlock):
        pytest.skip("needs Landlock")
    outside = tmp_path / "outside"
    outside.mkdir()
    script = (
        f"echo x > {outside}/file || echo refused >> refused\n"
        f"ln -s {outside}/link {outside}/link || echo refused >> refused\n"
        f"mkdir {outside}/dir || echo refused >> refused\n"
        f"rm {outside}/old || echo refused >> refused\n"
        'mkdir a b; echo x > a/x; mv a/x b/x; echo x > "$HOME/x"; mv "$HOME/x" "$TMPDIR"\n'
        'echo x > "$3/kept"; echo x > /dev/null'
    )
    (outside / "old").touch()
    option = make_builder(tmp_path / "mine", script)
    async with deployed({"Procfile": "web: cat refused; exec sleep 1000\n"}, option) as agent:
        status = await outcome(agent)
        assert (status["state"], status["error"]) == ("running", None)
        await first_line(agent, "app0.web.0", "refused")
        assert [path.name for path in outside.iterdir()] == ["old"]


def has_landlock() -> bool:
    program = "from smartmob_agent.build.programs.confine import restrict_writes as r; r([]) or 1/0"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    return done.returncode == 0


LEFTOVERS = {
    "a link for itself": 'cd /; rm -r "$1"; ln -s /etc "$1"',
    "nothing": 'cd /; rm -r "$1"',
    "a file for itself": 'cd /; rm -r "$1"; echo > "$1"',
    "a bad variable": 'echo x > "$2/not-a-name"',
}


@pytest.mark.parametrize("script", LEFTOVERS.values(), ids=LEFTOVERS.keys())
async def test_a_build_that_leaves_no_app_fails(script: str, tmp_path: Path) -> None:
    option = make_builder(tmp_path / "mine", script)
    async with deployed({"Procfile": PROCFILE}, option) as agent:
        status = await outcome(agent)
        assert status["state"] == "build failure"
        assert "cannot be kept: " in status["error"]


# Python and Node, without a registry

HAS_UV = pytest.mark.skipif(not UV.exists(), reason="needs uv beside Python")


@pytest.mark.parametrize("tool", ["uv", "pip"])
async def test_requirements_are_installed_and_scripts_work_in_every_copy(
    tool: str, tmp_path: Path
) -> None:
    app: dict[str, bytes | str] = {
        "Procfile": "web: greeter\n",
        "requirements.txt": f"./{GREETER_FILE}\n",
        GREETER_FILE: GREETER,
    }
    async with python_agent(app, tool, tmp_path, count=2) as agent:
        for number in range(2):
            status = await outcome(agent, f"app{number}.web.0")
            assert (status["state"], status["error"]) == ("running", None)
        lines = {await first_line(agent, f"app{n}.web.0", "greetings from ") for n in range(2)}
        assert len(lines) == 2
        assert all(line.endswith("/.venv") for line in lines)
        log = (await agent.client.get("/process-log/app0.web.0")).text
        assert f"-----> Installing by {tool}" in log


@asynccontextmanager
async def python_agent(
    app: App, tool: str, tmp_path: Path, count: int = 1
) -> AsyncIterator[RunningAgent]:
    """Without the other tool: pip is what there is where uv is not."""
    if tool == "uv" and not UV.exists():
        pytest.skip("needs uv beside Python")
    offline = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    if tool == "uv":
        async with deployed(app, count=count, env=offline) as agent:
            yield agent
        return
    # An operator's builder that runs the program as if there were no uv.
    program = (
        "import sys; from pathlib import Path; "
        "from smartmob_agent.build.programs import python; "
        "from smartmob_agent.build.programs.steps import run_program; "
        "python._find_uv = lambda: None; run_program(python.build)"
    )
    option = make_builder(tmp_path / "pip", f'exec {sys.executable} -c "{program}" "$@"')
    async with deployed(app, option, count=count, env=offline) as agent:
        yield agent


@pytest.mark.parametrize("tool", ["uv", "pip"])
async def test_a_package_that_does_not_exist_is_told(tool: str, tmp_path: Path) -> None:
    app = {"Procfile": PROCFILE, "requirements.txt": "no-such-package-anywhere==1\n"}
    async with python_agent(app, tool, tmp_path) as agent:
        status = await outcome(agent)
        assert status["state"] == "build failure"
        assert "no-such-package-anywhere" in status["error"]


@HAS_UV
async def test_a_lock_file_is_installed_and_one_that_does_not_fit_fails(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "vendor").mkdir(parents=True)
    (project / GREETER_FILE).write_bytes(GREETER)
    pyproject = (
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n'
        'dependencies = ["greeter"]\n[tool.uv.sources]\n'
        f'greeter = {{ path = "{GREETER_FILE}" }}\n'
    )
    (project / "pyproject.toml").write_text(pyproject)
    await trio.run_process([UV, "lock", "--offline", "-q", "--project", project])
    app: dict[str, bytes | str] = {
        "Procfile": "web: greeter\n",
        "pyproject.toml": pyproject,
        "uv.lock": (project / "uv.lock").read_text(),
        GREETER_FILE: GREETER,
    }
    env = {"UV_OFFLINE": "1"}
    async with deployed(app, env=env) as agent:
        status = await outcome(agent)
        assert (status["state"], status["error"]) == ("running", None)
        await first_line(agent, "app0.web.0", "greetings from ")
    app["pyproject.toml"] = pyproject.replace('["greeter"]', '["greeter", "other"]')
    async with deployed(app, env=env) as agent:
        status = await outcome(agent)
        assert status["state"] == "build failure"
        assert "uv.lock" in status["error"] or "other" in status["error"]


async def test_an_editable_package_is_found_in_every_copy(tmp_path: Path) -> None:
    """Its path is written down where Python looks."""
    app: dict[str, bytes | str] = {
        "Procfile": "web: greeter\n",
        "requirements.txt": f"./{GREETER_FILE}\n",
        GREETER_FILE: GREETER,
    }
    script = f"""mkdir -p lib env/bin; echo 'x = 1' > lib/module.py
{sys.executable} -m venv --without-pip .venv
echo "$PWD/lib" > "$(echo .venv/lib/python3*/site-packages)/editable.pth"
echo '$APP_DIR/.venv/bin' > "$2/PATH.prepend\""""
    option = make_builder(tmp_path / "mine", script)
    program = "import module, time; print(module.__file__, flush=True); time.sleep(999)"
    app["Procfile"] = f"web: python -c '{program}'\n"
    async with deployed(app, option, count=2) as agent:
        files = {await first_line(agent, f"app{number}.web.0", "/") for number in range(2)}
    assert len(files) == 2


HAS_NPM = pytest.mark.skipif(not shutil.which("npm"), reason="needs npm")


@HAS_NPM
async def test_a_node_app_is_installed_and_its_script_run() -> None:
    """Development dependencies are there for the script, and gone afterwards."""
    app: dict[str, bytes | str] = {
        "Procfile": "web: greeter\n",
        "package.json": '{"name": "app", "version": "1.0.0",'
        ' "scripts": {"build": "tool > built.txt"},'
        ' "dependencies": {"greeter": "file:greeter"}, "devDependencies": {"tool": "file:tool"}}',
        "greeter/package.json": '{"name": "greeter", "version": "1.0.0", "bin": "index.js"}',
        "greeter/index.js": "#!/usr/bin/env node\nconsole.log('greetings', process.env.NODE_ENV, "
        "require('fs').readFileSync('built.txt', 'utf8'));\nsetTimeout(() => {}, 1e6);\n",
        "tool/package.json": '{"name": "tool", "version": "1.0.0", "bin": "index.js"}',
        "tool/index.js": "#!/usr/bin/env node\nconsole.log('by tool');\n",
    }
    async with deployed(app, count=2) as agent:
        for number in range(2):
            status = await outcome(agent, f"app{number}.web.0")
            assert (status["state"], status["error"]) == ("running", None)
            line = await first_line(agent, f"app{number}.web.0", "greetings")
            assert line == "greetings production by tool"


@HAS_NPM
async def test_a_lock_file_of_npm_that_does_not_fit_fails() -> None:
    app: dict[str, bytes | str] = {
        "Procfile": PROCFILE,
        "package.json": '{"name": "app", "version": "1.0.0",'
        ' "dependencies": {"greeter": "file:greeter"}}',
        "package-lock.json": '{"name": "app", "version": "1.0.0", "lockfileVersion": 3,'
        ' "packages": {"": {"name": "app", "version": "1.0.0"}}}',
    }
    async with deployed(app) as agent:
        status = await outcome(agent)
        assert status["state"] == "build failure"
        assert "in sync" in status["error"] or "npm ci" in status["error"]


async def test_an_interpreter_that_is_missing_is_named() -> None:
    app = {"Procfile": PROCFILE, "requirements.txt": "", "runtime.txt": "python-3.9999.1\n"}
    async with deployed(app) as agent:
        status = await outcome(agent)
        assert status["state"] == "build failure"
        assert "runtime.txt asks for Python python-3.9999.1" in status["error"]
        assert "apt install python3.9999" in status["error"]


# One each by the real registry


def reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def test_a_package_comes_from_the_real_registry(tmp_path: Path) -> None:
    if not await trio.to_thread.run_sync(reachable, "https://pypi.org/simple/iniconfig/"):
        pytest.skip("the registry of Python cannot be reached")
    app: dict[str, bytes | str] = {
        "Procfile": "web: python -c 'import iniconfig' && echo found && sleep 999\n",
        "requirements.txt": "iniconfig\n",
    }
    async with deployed(app) as agent:
        status = await outcome(agent)
        assert (status["state"], status["error"]) == ("running", None)
        assert await first_line(agent, "app0.web.0", "found") == "found"


@HAS_NPM
async def test_a_package_comes_from_the_real_registry_of_npm() -> None:
    if not await trio.to_thread.run_sync(reachable, "https://registry.npmjs.org/ms"):
        pytest.skip("the registry of npm cannot be reached")
    app: dict[str, bytes | str] = {
        "Procfile": "web: node -e \"console.log('found', require('ms')('1m'))\"; sleep 999\n",
        "package.json": '{"name": "app", "version": "1.0.0", "dependencies": {"ms": "2.1.3"}}',
    }
    async with deployed(app) as agent:
        status = await outcome(agent)
        assert (status["state"], status["error"]) == ("running", None)
        assert await first_line(agent, "app0.web.0", "found") == "found 60000"

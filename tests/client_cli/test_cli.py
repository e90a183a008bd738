"""The command in this program, without a terminal; the agent is real, its children are fakes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent import AgentConfig, RestartDelays, Security, SpawnError
from smartmob_agent.client import open_client
from smartmob_agent.client_cli.cli import main
from smartmob_agent.testing import FakeChild
from tests.client.agent import CREATE, World, open_world, raw_server
from tests.client.test_documents import STATUS
from tests.client.test_events import CHANGE, END, RUNNING, SNAPSHOT, message
from tests.client_cli.test_pack import make, packed

pytestmark = pytest.mark.measures_children

SLUG = "hello.web.0"
NOBODY = "http://127.0.0.1:1"
RARELY = RestartDelays(base_delay=1e9, cap_delay=1e9)


@pytest.fixture(autouse=True)
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing of whoever runs the tests counts."""
    for name in ("AGENT", "TOKEN", "TOKEN_FILE"):
        monkeypatch.delenv(f"SMARTMOB_{name}", raising=False)
    monkeypatch.setenv("SMARTMOB_CONFIG", str(tmp_path / "none.toml"))
    return monkeypatch


@attrs.define(eq=False)
class Shell:
    """Runs commands on an agent, and has what they wrote."""

    capture: pytest.CaptureFixture[str]
    world: World
    out: str = ""
    err: str = ""

    async def __call__(self, *argv: str) -> int:
        """Return the exit code."""
        code = await trio.to_thread.run_sync(main, argv)
        self.out, self.err = self.capture.readouterr()
        return code

    async def on(self, *argv: str) -> int:
        """The same, on the agent."""
        return await self(argv[0], "--agent", self.world.url, *argv[1:])

    async def start(self, name: str = "hello") -> FakeChild:
        """Have a process of an app; `run` would look at it for a second."""
        async with open_client(self.world.url) as client:
            await client.create(**{**CREATE, "app": name})
            await client.wait_state(f"{name}.web.0", "running")
        return await self.world.spawner.next_child()


@asynccontextmanager
async def open_shell(
    capture: pytest.CaptureFixture[str], config: AgentConfig | None = None
) -> AsyncGenerator[Shell]:
    async with open_world(config) as world:
        yield Shell(capture, world)


@pytest.mark.slow
async def test_an_app_is_run_listed_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shell(capsys) as shell:
        assert await shell.on("run", "http://127.0.0.1:1/hello.tar.gz") == 0
        child = await shell.world.spawner.next_child()
        assert (shell.out, shell.err) == (f"{SLUG}\n", "")
        assert await shell.on("ps") == 0
        slug, state, pid, restarts, started, *rest = shell.out.rstrip("\n").split("\t")
        assert (slug, state, pid, restarts) == (SLUG, "running", str(child.pid), "0")
        assert started.endswith("Z")
        assert rest == ["-", "-", shell.world.url, "20000", "ready"]
        assert await shell.on("rm", SLUG) == 0
        assert (shell.out, shell.err) == (f"{SLUG}\n", "")
        assert await shell.on("ps") == 0
        assert shell.out == ""


async def test_documents_come_as_the_agent_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    config = AgentConfig(port=0, stop_timeout=0, restart=RARELY)
    async with open_shell(capsys, config) as shell:
        child = await shell.start()
        assert await shell.on("ps", "--json") == 0
        [listed] = json.loads(shell.out)["processes"]
        assert await shell.on("status", SLUG, "--json") == 0
        status = json.loads(shell.out)
        assert listed == {**status, "agent": shell.world.url}
        assert await shell.on("status", SLUG) == 0
        lines = [line.split("\t") for line in shell.out.splitlines()]
        assert [name for name, _ in lines] == list(status)
        assert ["state", "running"] in lines
        child.exit(3)
        assert await shell.on("wait", SLUG, "--state", "backoff") == 0
        assert await shell.on("status", SLUG) == 0
        assert "exit\texit code 3\n" in shell.out
        assert await shell.on("rm", "--all", "--json") == 0
        assert json.loads(shell.out) == {"deleted": SLUG}


async def test_an_agent_is_reached_by_its_socket_and_with_a_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], environ: pytest.MonkeyPatch
) -> None:
    """The URL may be a name, and the token in a variable or a file."""
    path, tokens, config = tmp_path / "agent.sock", tmp_path / "tokens", tmp_path / "config.toml"
    tokens.touch(0o600)
    tokens.write_text("0123456789abcdef\n")
    security = Security(token_file=tokens)
    async with open_shell(capsys, AgentConfig(port=0, unix=path, security=security)) as shell:
        config.write_text(
            f"[agents.a]\nurl = 'unix:{path}'\n[agents.b]\nurl = '{shell.world.url}'\n"
        )
        environ.setenv("SMARTMOB_CONFIG", str(config))
        assert await shell("ps", "-a", "b") == 1
        assert shell.err.endswith("(SMARTMOB_TOKEN has a token, or --token-file FILE)\n")
        assert await shell("ps", "-a", "a", "-a", "b", "--token-file", str(tokens)) == 0
        environ.setenv("SMARTMOB_AGENT", "a, b")
        environ.setenv("SMARTMOB_TOKEN", "0123456789abcdef")
        assert await shell("ps") == 0
        assert (shell.out, shell.err) == ("", "")


@pytest.mark.slow
async def test_a_directory_is_packed_and_uploaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = tmp_path / "My App"
    app.mkdir()
    (app / "Procfile").write_text("web: true\n")
    async with open_shell(capsys) as shell:
        assert await shell.on("run", str(app), "-e", "A=1", "--node", "n", "--json") == 0
        created = json.loads(shell.out)
        assert (created["slug"], created["process_type"]) == ("My-App.n", "web")
        child = await shell.world.spawner.next_child()
        assert child.command.env["A"] == "1"


@pytest.mark.slow
async def test_what_is_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What an app needs to run first, and not what nobody misses."""
    trash = ["x.pyc", "__pycache__/y", ".DS_Store"]
    names = [*(f"{number}.log" for number in range(8)), "vendor/lib/log/x", *trash]
    rules = "*.log\nlog/\n*.pyc\n__pycache__\n.DS_Store\n.venv\n"
    app = make(tmp_path / "app", {"Procfile": "web: true\n", **dict.fromkeys(names, "")})
    (app / ".gitignore").write_text(rules)
    async with open_shell(capsys) as shell:
        assert await shell.on("run", str(app), "--include", ".venv") == 0
        logs = ", ".join(f"{number}.log" for number in range(7))
        assert shell.err == (
            "smartmob: --include .venv matches nothing\n"
            f"smartmob: left out, as .gitignore says: vendor/lib/log, {logs} and 1 more "
            "(--include PATTERN takes in)\n"
        )
        (app / ".gitignore").write_text("*.pyc\n")
        assert await shell.on("run", str(app), "--node", "1") == 0
        assert (shell.out, shell.err) == ("app.1\n", "")
        (app / ".gitignore").write_text("vendor\n")
        assert await shell.on("run", str(app), "--node", "2") == 0
        assert shell.err == (
            "smartmob: left out, as .gitignore says: vendor (--include PATTERN takes in)\n"
        )


@pytest.mark.slow
async def test_an_archive_is_uploaded_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(packed(make(tmp_path / "x", {"Procfile": "web: true\n"})))
    async with open_shell(capsys) as shell:
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        argv = ("run", str(archive), "--app", "other", "--sha256")
        assert await shell.on(*argv, digest) == 0
        assert shell.out == "other.web.0\n"
        assert await shell.on(*argv, "5e", "--node", "1") == 1
        assert "$.source_sha256" in shell.err
        for source in (str(archive), f"{NOBODY}/x.tar.gz"):
            assert await shell.on("run", source, "--include", "x") == 2
            assert shell.err.startswith("smartmob: --include is for a directory, which is packed;")


@pytest.mark.parametrize(("options", "wanted"), [((), "1\n2\n3\n"), (("--tail", "2"), "2\n3\n")])
async def test_logs_are_bare_lines(
    options: tuple[str, ...], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_shell(capsys) as shell:
        child = await shell.start()
        child.write(b"1\n2\n")
        child.write(b"3\n")
        await trio.testing.wait_all_tasks_blocked(0.01)

        assert await shell.on("logs", SLUG, *options) == 0
        assert (shell.out, shell.err) == (wanted, "")


async def test_logs_have_times_and_all_that_was_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A pipe gets control sequences as they are."""
    async with open_shell(capsys) as shell:
        child = await shell.start()
        child.write(b"\x1b[2J\x1b[31m1\n2\n")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await shell.on("logs", "-t", SLUG) == 0
        assert shell.err == ""
        time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
        assert re.fullmatch(rf"{time} \x1b\[2J\x1b\[31m1\n{time} 2\n", shell.out)
        assert await shell.on("logs", "--json", SLUG) == 0
        times = [record["time"] for record in map(json.loads, shell.out.splitlines())]
        assert await shell.on("logs", "--times", SLUG) == 0
        assert {line.split()[0] for line in shell.out.splitlines()} <= {*times}


async def test_a_signal_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    config = AgentConfig(port=0, stop_timeout=0, restart=RARELY)
    async with open_shell(capsys, config) as shell:
        child = await shell.start()
        assert await shell.on("signal", SLUG, "HUP") == 0
        assert (shell.out, shell.err) == (f"{SLUG}\tHUP\n", "")
        assert await shell.on("signal", SLUG, "SIGUSR1", "--json") == 0
        assert json.loads(shell.out) == {"slug": SLUG, "signal": "SIGUSR1"}
        assert child.signals == [signal.SIGHUP, signal.SIGUSR1]
        assert await shell.on("signal", SLUG, "NONE") == 1
        assert "$.signal" in shell.err
        assert await shell.on("signal", "helo.web.0", "HUP") == 4
        assert "did you mean" in shell.err
        child.exit(3)
        assert await shell.on("wait", SLUG, "--state", "backoff") == 0
        assert await shell.on("signal", SLUG, "HUP") == 1
        assert shell.err.startswith("smartmob: ")


async def test_logs_of_several_say_where_each_line_comes_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_shell(capsys) as shell:
        for name in ("a", "b"):
            child = await shell.start(name)
            child.write(b"1\n2\n")
        await trio.testing.wait_all_tasks_blocked(0.01)
        slugs = ("a.web.0", "b.web.0")
        assert await shell.on("logs", *slugs) == 0
        assert sorted(shell.out.splitlines()) == [f"{s} | {n}" for s in slugs for n in (1, 2)]
        assert await shell.on("logs", "--json", *slugs) == 0
        records = [json.loads(line) for line in shell.out.splitlines()]
        lines = sorted((r["source"], r["line"]) for r in records if "seq" in r)
        assert lines == [(s, n) for s in slugs for n in ("1", "2")]
        assert await shell.on("logs", "a.web.0", "nobody") == 4
        assert shell.out == "a.web.0 | 1\na.web.0 | 2\n"
        assert "'nobody'" in shell.err


async def test_several_agents_are_asked_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shell(capsys) as shell:
        await shell.start()
        assert await shell("ps", "-a", NOBODY, "-a", shell.world.url) == 3
        assert shell.out.startswith(f"{SLUG}\trunning")
        assert shell.err.startswith(f"smartmob: {NOBODY}: cannot reach the agent at {NOBODY}: ")
        assert await shell("ps", "-a", NOBODY) == 3
        assert shell.err.startswith(f"smartmob: cannot reach the agent at {NOBODY}: ")
        assert shell.out == ""
        assert await shell("status", SLUG, "-a", NOBODY, "-a", shell.world.url) == 2
        assert shell.err == f"smartmob: expected one agent, found {NOBODY}, {shell.world.url}\n"


async def test_logs_come_from_several_agents_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """One that has no such process is none to speak of, unless no other has."""
    async with open_shell(capsys) as shell, open_world() as other:
        worlds = (shell.world, other)
        for world, name in [(shell.world, "both"), (other, "both"), (other, "one")]:
            async with open_client(world.url) as client:
                await client.create(**{**CREATE, "app": name})
            child = await world.spawner.next_child()
            child.write(f"{name}\n".encode())
        await trio.testing.wait_all_tasks_blocked(0.01)
        agents = ["-a", shell.world.url, "-a", other.url]

        assert await shell("logs", "both.web.0", *agents) == 0
        assert sorted(shell.out.splitlines()) == sorted(f"{w.url} | both" for w in worlds)
        assert await shell("logs", "one.web.0", *agents) == 0
        assert (shell.out, shell.err) == (f"{other.url} | one\n", "")
        assert await shell("logs", "none.web.0", *agents) == 4
        assert shell.err == "smartmob: no process has the slug 'none.web.0'\n"
        assert await shell("logs", "one.web.0", *agents, "-a", NOBODY) == 3
        assert shell.err.startswith(f"smartmob: {NOBODY}: cannot reach")
        assert await shell("ps", *agents) == 0
        assert shell.out.count(f"\t{other.url}\t") == 2


async def test_options_may_stand_before_the_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Those behind it count more."""
    token = tmp_path / "token"
    token.write_text("x")
    async with open_shell(capsys) as shell:
        await shell.start()
        assert await shell("--agent", shell.world.url, "--json", "ps") == 0
        assert [process["slug"] for process in json.loads(shell.out)["processes"]] == [SLUG]
        assert await shell("-a", NOBODY, "ps", "-a", shell.world.url) == 0
        assert shell.out.startswith(f"{SLUG}\t")
        assert await shell("--token-file", "/nowhere", "ps", "--token-file", str(token)) == 3
        assert await shell("--token-file", "/nowhere", "ps") == 2
        assert await shell("--json", "completion", "bash") == 0


async def test_what_may_have_been_meant_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shell(capsys) as shell:
        assert await shell.on("rm", "nobody") == 4
        assert shell.err == (
            "smartmob: no process has the slug 'nobody' (there are no processes)\n"
        )
        await shell.start()
        for command in ("status", "rm", "logs"):
            assert await shell.on(command, "helo.web.0") == 4
            assert shell.err == (
                "smartmob: no process has the slug 'helo.web.0' (did you mean 'hello.web.0'?)\n"
            )
            assert await shell.on(command, "nobody") == 4
            assert shell.err.endswith("(smartmob ps lists them)\n")
        assert await shell.on("run", "http://127.0.0.1:1/hello.zip") == 1
        assert shell.err.endswith("(--node names another one; smartmob rm SLUG deletes)\n")


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["rm"], 2, "expected either SLUG... or --all"),
        (["rm", "x", "--all"], 2, "expected either SLUG... or --all"),
        (["logs"], 2, "Missing argument 'SLUG...'"),
        (["ps", "-a", "nobody"], 2, "smartmob: no agent is called 'nobody'"),
        (["ps", "-a", "ftp:x"], 2, "smartmob: expected http://HOST:PORT"),
        (["open", "-a", "ftp:x"], 2, "smartmob: expected http://HOST:PORT"),
        (["open", "-a", "unix:/x"], 1, "smartmob: no browser reaches unix:/x"),
        (["wait", "x", "--state", "runing"], 2, "smartmob: no state is called 'runing' (did you m"),
        (["wait", "x", "--state", "x"], 2, "smartmob: no state is called 'x' (there are pending, "),
        (["wait", "x", "--timeout", "nan"], 2, "Invalid value for '--timeout': 'nan' is not a "),
        (
            ["logs", "x", "--tail", "9" * 19],
            2,
            "Invalid value for '--tail': 9999999999999999999 is not",
        ),
        (
            ["run", "x", "--type", "a b"],
            2,
            "smartmob: expected a type of a Procfile, of A-Z a-z 0-9 . ",
        ),
        (["run", "x", "-e", "nothing"], 2, "smartmob: expected --env NAME=VALUE"),
        (["run", "/nowhere"], 2, "smartmob: cannot read /nowhere: No such file or directory ("),
        (["run", "http://127.0.0.1"], 2, "smartmob: no name for http://127.0.0.1 (--app gives"),
        (["run", "/tmp/.."], 2, "smartmob: no name for /tmp/.."),
        (["ps", "--token-file", "/nowhere"], 2, "smartmob: cannot read the token in /nowhere"),
    ],
)
async def test_a_wrong_use_is_one_line(
    argv: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await trio.to_thread.run_sync(main, argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].removeprefix("Error: ").startswith(message)


async def test_a_url_is_opened_nowhere_but_on_a_terminal(
    capsys: pytest.CaptureFixture[str], environ: pytest.MonkeyPatch
) -> None:
    environ.setenv("BROWSER", "false")
    assert await trio.to_thread.run_sync(main, ["open", "-a", "https://agent/x/"]) == 0
    assert capsys.readouterr().out == "https://agent/x\n"
    assert await trio.to_thread.run_sync(main, ["open", "-a", "https://agent/x/", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"url": "https://agent/x"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_SMARTMOB_COMPLETE" in capsys.readouterr().out


def in_bash(*words: str) -> list[str]:
    """Return what bash offers for the last word, by the script that the command wrote."""
    script = (
        'eval "$(smartmob completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_smartmob_completion "$1"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", script, "bash", "smartmob", *words],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout.split()


@pytest.mark.slow
async def test_bash_completes_commands_options_and_slugs(
    capsys: pytest.CaptureFixture[str], environ: pytest.MonkeyPatch
) -> None:
    async with open_shell(capsys) as shell:
        await shell.start()
        environ.setenv("SMARTMOB_AGENT", shell.world.url)

        async def offered(*words: str) -> list[str]:
            return await trio.to_thread.run_sync(in_bash, *words)

        assert await offered("r") == ["releases", "render", "restart", "rm", "rollback", "run"]
        assert await offered("logs", "--f") == ["--follow"]
        assert await offered("rm", "he") == [SLUG]


async def test_slugs_agents_and_states_are_completed(
    capsys: pytest.CaptureFixture[str], environ: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without an answer, or a file, there is nothing to offer."""
    config = tmp_path / "config.toml"

    async def offered(words: str) -> str:
        environ.setenv("COMP_WORDS", words)
        environ.setenv("COMP_CWORD", str(len(words.split()) - 1))
        await shell()
        return shell.out.strip()

    async with open_shell(capsys) as shell:
        await shell.start()
        environ.setenv("_SMARTMOB_COMPLETE", "bash_complete")
        environ.setenv("SMARTMOB_CONFIG", str(config))
        config.write_text(f"[agents.home]\nurl = '{shell.world.url}'\n")
        for agent, slugs in [(shell.world.url, f"plain,{SLUG}"), (NOBODY, ""), ("none", "")]:
            environ.setenv("SMARTMOB_AGENT", agent)
            assert await offered("smartmob status he") == slugs
        assert await offered("smartmob rm --agent home he") == f"plain,{SLUG}"
        assert await offered("smartmob ps --agent ho") == "plain,home"
        assert await offered(f"smartmob -a none rm -a {NOBODY} -a home he") == f"plain,{SLUG}"
        assert await offered("smartmob --agent home rm he") == f"plain,{SLUG}"
        assert await offered("smartmob --agent home rm --token-file /nowhere he") == ""
        assert await offered("smartmob wait --state ba") == "plain,backoff"
        assert await offered("smartmob wait --state no") == ""
        assert await offered(f"smartmob signal {SLUG} HU") == "plain,HUP"
        assert await offered("smartmob run ./") == "file,./"
        assert await offered("smartmob nothing x") == ""
        config.write_text("agents = 1")
        assert await offered("smartmob ps --agent ho") == ""


def test_help_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "  141  the reader" in capsys.readouterr().out
    assert main(["--version"]) == 0


async def test_what_cannot_be_deleted_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The others are deleted all the same."""
    answers = [b'{"processes": []}', b'{"title": "a defect"}']

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            status = b"200 OK" if len(answers) == 2 else b"500 No"
            body = answers.pop(0)
            kind = b"application/problem+json"
            head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nConnection: close\r\n" % (status, kind)
            await stream.send_all(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, handle, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        assert await trio.to_thread.run_sync(main, ["rm", "x", "-a", url]) == 1
        nursery.cancel_scope.cancel()
    assert capsys.readouterr().err == "smartmob: a defect\n"


@pytest.mark.slow
async def test_a_process_is_waited_for_and_restarted(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shell(capsys) as shell:
        await shell.start()
        assert await shell.on("wait", SLUG) == 0
        assert shell.out == f"{SLUG}\trunning\n"
        assert await shell.on("wait", SLUG, "--json") == 0
        assert json.loads(shell.out) == {"slug": SLUG, "state": "running"}
        assert await shell.on("restart", SLUG) == 0
        assert shell.out == f"{SLUG}\trunning\n"
        assert await shell.on("restart", SLUG, "--json") == 0
        assert json.loads(shell.out)["restarts"] == 2
        options = ("--state", "backoff", "--state", "gone", "--timeout", "0.01")
        assert await shell.on("wait", SLUG, *options) == 124
        assert shell.err == f"smartmob: {SLUG}: not backoff or gone within 0.01 s\n"
        assert await shell.on("wait", "helo.web.0") == 4
        assert "did you mean" in shell.err
        assert await shell.on("wait", SLUG, "--state", "gone", "--timeout", "0.0001m") == 124
        assert shell.err == f"smartmob: {SLUG}: not gone within 0.006 s\n"


async def test_a_process_that_cannot_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With `--attach` too, though its output would never end."""
    async with open_shell(capsys) as shell:
        for name, options in (("a", ()), ("b", ("--attach",))):
            slug = f"{name}.nothing.0"
            code = await shell.on("run", f"{NOBODY}/{name}.zip", "--type", "nothing", *options)
            assert (code, shell.out) == (1, f"{slug}\n")
            assert shell.err.startswith(f"smartmob: {slug}: unknown process type: ")


@pytest.mark.parametrize("argv", [("run", f"{NOBODY}/b.zip", "--attach"), ("restart", SLUG)])
async def test_a_child_that_ends_at_once_is_told(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last lines are in the output, or beside the message."""
    attached = argv[0] == "run"
    config = AgentConfig(port=0, stop_timeout=0, restart=RARELY)
    async with open_shell(capsys, config) as shell, open_client(shell.world.url) as client:
        await shell.start()
        codes = []

        async def command() -> None:
            codes.append(await shell.on(*argv))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(command)
            child = await shell.world.spawner.next_child()
            if attached:
                console = shell.world.agent.supervisor.get("b.web.0").console
                while not console.readers:  # noqa: ASYNC110  # nobody tells when it attaches
                    await trio.sleep(0.01)
            child.write_error(b"why\n")
            child.exit(3)
            if attached:
                await client.wait_state("b.web.0", "backoff")
                await client.delete("b.web.0")
    slug, out = ("b.web.0", "b.web.0\nwhy\n") if attached else (SLUG, f"{SLUG}\trunning\n")
    assert (codes, shell.out) == ([1], out)
    rest = "" if attached else "; its last lines:\n    why"
    said = rf"smartmob: {slug}: the child ended with exit code 3 after \S+ s; it is tried again"
    assert re.fullmatch(f"{said}{rest}\n", shell.err)


async def test_a_restart_that_fails_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shell(capsys) as shell:
        await shell.start()
        shell.world.spawner.errors.append(SpawnError("no room"))
        assert await shell.on("restart", SLUG) == 1
        assert shell.out == f"{SLUG}\tbackoff\n"
        assert "no room" in shell.err


async def test_a_process_that_has_not_come_to_run_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Though it is tried again."""
    async with open_shell(capsys) as shell:
        shell.world.spawner.errors += [SpawnError("no room")] * 50
        assert await shell.on("run", f"{NOBODY}/hello.zip") == 1
        assert shell.out == f"{SLUG}\n"
        assert shell.err == f"smartmob: {SLUG}: no room; it is tried again\n"


async def test_a_slug_that_is_not_there_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """It may be to come."""
    async with raw_server(b"HTTP/1.1 200 OK\r\n\r\n" + SNAPSHOT + SNAPSHOT + END) as url:
        argv = ["events", "-a", url, SLUG, "typo", "typo"]
        assert await trio.to_thread.run_sync(main, argv) == 0
    assert capsys.readouterr().err == (
        "smartmob: no process 'typo' is there now; it is waited for\n"
    )


@pytest.mark.parametrize("as_json", [False, True])
async def test_events_are_lines(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    gaps = [message("gap", {"missed": count}) + SNAPSHOT for count in (5, None)]
    stream = b"".join([SNAPSHOT, RUNNING, *gaps, END])
    async with raw_server(b"HTTP/1.1 200 OK\r\n\r\n" + stream) as url:
        argv = ["events", "-a", url, *(["--json"] if as_json else [])]
        assert await trio.to_thread.run_sync(main, argv) == 0
    out, err = capsys.readouterr()
    if as_json:
        now = {"event": "snapshot", "processes": [STATUS]}
        gap, unknown = ({"event": "gap", "missed": missed} for missed in (5, None))
        assert [json.loads(line) for line in out.splitlines()] == [CHANGE, gap, now, unknown, now]
    else:
        change = f"2026-01-01T00:00:00.000Z\t{SLUG}\trunning\t5\t-\t-\n"
        row = f"-\t{SLUG}\tbackoff\t-\tSIGKILL\tno luck\n"
        assert out == change + row + row
    assert err == "smartmob: 5 events are lost\nsmartmob: some events are lost\n"


async def test_readiness_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shell(capsys) as shell:
        await shell.start()
        assert await shell.on("wait", SLUG, "--ready") == 0
        assert shell.out == f"{SLUG}\tready\n"
        assert await shell.on("wait", SLUG, "--ready", "--state", "running") == 2
        shell.world.network.refuses = True
        await shell.on("restart", SLUG)
        assert await shell.on("wait", SLUG, "--ready", "--timeout", "0") == 124
        assert shell.err == f"smartmob: {SLUG}: not ready within 0 s\n"

"""Apps from the command line; the agent is real, its children are fakes."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import click
import pytest
import trio

from smartmob_agent.client import (
    AppNews,
    BadAnswerError,
    ClientError,
    Happening,
    NoSuchProcessError,
    open_client,
)
from smartmob_agent.client.apps import _items, parse_app, parse_news
from smartmob_agent.client.events import state_in
from smartmob_agent.client_cli import rendering
from smartmob_agent.client_cli.cli import main
from smartmob_agent.client_cli.commands.deploy import read_counts
from smartmob_agent.client_cli.completion import complete_app
from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.rendering import Render, render_follow
from smartmob_agent.client_cli.rollouts import _Follower
from smartmob_agent.client_cli.settings import Settings
from smartmob_agent.testing import FakeChild
from tests.client_cli.test_cli import Shell, environ, open_shell

__all__ = ["environ"]

pytestmark = [pytest.mark.measures_children, pytest.mark.slow]
QUICK = ("--app", "shop", "--watch", "0", "--drain", "0")
URL = "http://127.0.0.1:1/shop.tar.gz"


@asynccontextmanager
async def open_shop(capture: pytest.CaptureFixture[str]) -> AsyncGenerator[Shell]:
    """With an app of one `web`, whose children come up unless their release is bad."""
    async with open_shell(capture) as shell, trio.open_nursery() as nursery:
        nursery.start_soon(play, shell)
        body = {
            "source_url": URL,
            "processes": {"web": {"count": 1, "ready": {"log": "^up$"}}},
            "watch": 0,
            "drain": 0,
        }
        async with open_client(shell.world.url) as client:
            await client.apps.put("shop", body, wait=True)
        yield shell
        nursery.cancel_scope.cancel()


async def play(shell: Shell) -> None:
    """Let each child do what its environment says."""
    while True:
        child: FakeChild = await shell.world.spawner.next_child()
        env = child.command.env
        if "BAD" in env:
            child.write(b"no flask\n")
            child.exit(3)
        elif "NEVER" not in env:
            child.write(f"hello {env['SMARTMOB_RELEASE']}\nup\n".encode())


async def test_a_deploy_is_followed_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shop(capsys) as shell:
        assert await shell.on("deploy", URL, *QUICK, "--env", "A=1", "--scale", "web=2") == 0
        assert shell.out.endswith("shop\trelease 2\tdone\n")
        assert shell.err.startswith("smartmob: shop: release 2\n")
        assert await shell.on("apps") == 0
        assert shell.out == f"shop\t2\tdone\tweb 2/2\t{URL}\t-\n"
        assert await shell.on("apps", "--json") == 0
        assert json.loads(shell.out)["apps"][0]["wanted"]["env"] == ["A"]


async def test_the_output_of_new_processes_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """While they come up: here one waits for a word of its own output."""
    async with open_shop(capsys) as shell:
        assert await shell.on("deploy", URL, "--app", "shop", "--watch", "0.5") == 0
        assert "shop.web.0 | hello 2\nshop.web.0 | up\n" in shell.out


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_a_bad_release_goes_back_and_says_so(
    form: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends with 1, the reason and the last lines, and tells what serves."""
    async with open_shop(capsys) as shell:
        assert await shell.on("deploy", URL, *QUICK, "-e", "BAD=1", *form) == 1
        assert "rolled back: shop.web.0: the child ended with exit code 3" in shell.err
        assert "    no flask\n" in shell.err
        assert shell.err.endswith("smartmob: shop: release 1 serves\n")
        assert bool(shell.out) == bool(form)
        assert await shell.on("releases", "shop") == 0
        found = [line.split("\t")[:2] for line in shell.out.splitlines()]
        assert found == [["2", "failed"], ["1", "done"]]
        assert await shell.on("releases", "shop", "--json") == 0
        assert json.loads(shell.out)["releases"][0]["error"]


async def test_a_first_release_that_is_bad(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shop(capsys) as shell:
        assert await shell.on("deploy", URL, "--app", "new", "-e", "BAD=1", "--scale", "web=1") == 1
        assert "serves" not in shell.err


async def test_one_that_is_superseded_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shop(capsys) as shell, open_client(shell.world.url) as client:
        codes = []

        async def deploy() -> None:
            codes.append(await shell.on("deploy", URL, *QUICK, "-e", "NEVER=1"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(deploy)
            async with client.events(apps=["shop"]) as events:
                async for event in events:
                    if isinstance(event, AppNews) and event.document.get("release") == 2:
                        break
            await client.apps.put("shop", {"source_url": URL, "env": {}}, wait=True)
        assert codes == [1]
        assert "release 2 was superseded" in shell.err


async def test_an_agent_that_stops_meanwhile(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shop(capsys) as shell, open_client(shell.world.url) as client:
        codes = []

        async def deploy() -> None:
            codes.append(await shell.on("deploy", URL, *QUICK, "-e", "NEVER=1"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(deploy)
            async with client.events(apps=["shop"]) as events:
                async for event in events:
                    if isinstance(event, AppNews) and event.document.get("state") == "rolling":
                        break
            shell.world.agent.stop()
        assert codes[0] in (1, 3)


async def test_apps_are_scaled_configured_rolled_back_and_destroyed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with open_shop(capsys) as shell:
        assert await shell.on("scale", "shop", "web=2", "--no-wait") == 0
        assert shell.out == "shop\trelease 1\trolling\n"
        assert await shell.on("scale", "shop", "web=1", "--json", "--no-wait") == 0
        assert await shell.on("scale", "shop", "web=1", "--json") == 0
        assert json.loads(shell.out)["processes"]["web"]["wanted"] == 1
        assert await shell.on("config", "shop", "A=1", "B=2") == 0
        assert await shell.on("config", "shop", "--unset", "A") == 0
        assert await shell.on("config", "shop") == 0
        assert shell.out == "B\n"
        assert await shell.on("config", "shop", "--json") == 0
        assert json.loads(shell.out) == {"env": ["B"]}
        assert await shell.on("rollback", "shop", "1") == 0
        assert shell.out.endswith("shop\trelease 4\tdone\n")
        assert await shell.on("destroy", "shop") == 2
        assert "--yes is needed" in shell.err
        assert await shell.on("destroy", "shop", "--yes") == 0
        assert shell.out == "shop\n"
        for argv in (("releases", "shop"), ("destroy", "shop", "--yes"), ("rollback", "shop")):
            assert await shell.on(*argv) == 4
            assert "no app has the name 'shop' (smartmob apps lists them)" in shell.err


async def test_a_deploy_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shell(capsys) as shell:
        await shell.start("shop")
        assert await shell.on("deploy", URL, "--app", "shop", "--scale", "web=1") == 1
        assert "wants the slug 'shop.web.0'" in shell.err
        assert "--app names another app" in shell.err
        assert await shell.on("deploy", URL, "--app", "..") == 2


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_events_of_apps_are_lines(
    form: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_shop(capsys) as shell, open_client(shell.world.url) as client:

        async def follow() -> None:
            await shell.on("events", *form)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            while not shell.world.agent.supervisor.events.readers:  # noqa: ASYNC110
                await trio.sleep(0.01)
            await client.apps.patch("shop", {"env": {"A": "1"}}, wait=True)
            await client.apps.delete("shop")
            shell.world.agent.stop()
    kinds = ("created", "changed", "deleted", "rolling", "done")
    assert all(kind in shell.out for kind in kinds[1:])


async def test_apps_are_completed(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_shop(capsys) as shell:
        parent = click.Context(click.Command("smartmob"))
        parent.params = {"agents": (shell.world.url,), "token_file": None}
        context = click.Context(click.Command("releases"), parent=parent)
        complete = partial(complete_app, context, None, "s")
        assert await trio.to_thread.run_sync(complete) == ["shop"]


def test_counts_are_read() -> None:
    assert read_counts("web=2,worker=0") == {"web": 2, "worker": 0}
    for text in ("web", "web=x", "=1", ""):
        with pytest.raises(click.BadParameter, match="expected TYPE=N"):
            read_counts(text)


async def test_what_is_no_app_is_an_error() -> None:
    with pytest.raises(BadAnswerError, match="expected a list of apps"):
        _items({"apps": 3}, "apps")
    with pytest.raises(BadAnswerError, match="expected an event of an app"):
        parse_news("app", "[]")
    assert state_in(AppNews(kind="app", app="shop", document={})) == ("", None, False)
    async with open_client("http://127.0.0.1:1") as client:
        with pytest.raises(NoSuchProcessError, match="no app has the name"):
            await client.apps.get("..")


TEMPLATE = """
{%- for app in apps %}{% for one in app.slots if one.ready %}{{ one.port }} {% endfor %}{% endfor %}
""".strip()


async def test_a_template_is_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, and only if something has changed; with the mode that the file has."""
    template, out, log = tmp_path / "t.j2", tmp_path / "out", tmp_path / "log"
    template.write_text(TEMPLATE)
    then = ("--then", f"echo then >> {log}")
    async with open_shop(capsys) as shell:
        assert await shell.on("render", str(template), str(out), *then) == 0
        assert out.read_text() == "20000 "
        out.chmod(0o600)
        assert await shell.on("render", str(template), str(out), *then) == 0
        assert log.read_text() == "then\n"
        assert await shell.on("config", "shop", "A=1") == 0
        assert await shell.on("render", str(template), str(out), "--then", "exit 3") == 3
        assert (out.read_text(), out.stat().st_mode & 0o777) == ("20001 ", 0o600)
        template.write_text("{{ nothing }}")
        assert await shell.on("render", str(template), str(out)) == 1
        assert "'nothing' is undefined" in shell.err
        template.write_text("\n{% for %}")
        assert await shell.on("render", str(template), str(out)) == 1
        assert "t.j2 line 2: " in shell.err
        assert out.read_text() == "20001 "
        assert await shell.on("render", str(tmp_path / "none"), str(out)) == 1
        assert "cannot read" in shell.err
        template.write_text("x")
        assert await shell.on("render", str(template), str(tmp_path / "no" / "out")) == 1
        assert "cannot write" in shell.err
        assert await shell.on("render", str(template), str(tmp_path)) == 1
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]  # noqa: PTH208
        assert await shell("render", "--agent", "http://127.0.0.1:1", str(template), str(out)) == 3


async def test_a_followed_template_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With each change, also when the agent was away, a command fails, or the template is wrong."""
    template, out, log = tmp_path / "t.j2", tmp_path / "out", tmp_path / "log"
    template.write_text(TEMPLATE)
    async with open_shop(capsys) as shell, open_client(shell.world.url) as client:
        agents = [Settings(name=shell.world.url, url=shell.world.url)]
        render = Render(template=template, out=out, then=f"echo then >> {log}; exit 3")

        async def until(text: str) -> None:
            while not out.exists() or out.read_text() != text:  # noqa: ASYNC110
                await trio.sleep(0.02)  # A file tells nobody.

        async with trio.open_nursery() as nursery:
            nursery.start_soon(render_follow, agents, render)
            await until("20000 ")
            await client.apps.patch("shop", {"env": {"A": "1"}}, wait=True)
            await until("20001 ")
            template.write_text("{{ nothing }}")
            await client.apps.patch("shop", {"env": {"A": "2"}}, wait=True)
            while "'nothing' is undefined" not in shell.err:
                shell.err += capsys.readouterr().err
                await trio.sleep(0.02)
            template.write_text("done")
            await client.apps.patch("shop", {"env": {"A": "3"}}, wait=True)
            await until("done")
            nursery.cancel_scope.cancel()
        assert "ended with exit code 3" in shell.err
        assert log.read_text().startswith("then\nthen\n")


async def test_an_agent_that_is_away_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is told once."""
    monkeypatch.setattr(rendering, "_RETRY_DELAY", 0.01)
    render = Render(template=tmp_path / "t.j2", out=tmp_path / "out")
    agents = [Settings(name="away", url="http://127.0.0.1:1")]
    with trio.move_on_after(0.5):
        await render_follow(agents, render)
    assert capsys.readouterr().err.count("trying again") == 1


async def test_a_write_that_is_cut_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CommandError, match="No space left"):
        rendering._write(tmp_path / "out", b"x")
    assert not os.listdir(tmp_path)  # noqa: PTH208


def test_a_followed_template_ends_with_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def follow(_agents: object, _render: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(rendering, "render_follow", follow)
    argv = ["render", "--agent", "http://127.0.0.1:1", "--follow", "a", str(tmp_path / "b")]
    assert main(argv) == 0


async def test_on_a_terminal_there_are_tables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("apps", "releases", "events"):
        monkeypatch.setattr(f"smartmob_agent.client_cli.commands.{name}.is_terminal", lambda: True)
    async with open_shop(capsys) as shell, open_client(shell.world.url) as client:
        assert await shell.on("apps") == 0
        assert "ROLLOUT" in shell.out
        assert "web 1/1" in shell.out
        assert await shell.on("releases", "shop") == 0
        assert "OUTCOME" in shell.out
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shell.on, "events")
            while not shell.world.agent.supervisor.events.readers:  # noqa: ASYNC110
                await trio.sleep(0.01)
            await client.apps.patch("shop", {"env": {"A": "1"}}, wait=True)
            shell.world.agent.stop()
    assert "release 2" in shell.out


async def test_who_destroys_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.confirm", lambda *_, **__: True)
    async with open_shop(capsys) as shell:
        assert await shell.on("destroy", "shop", "--json") == 0
        assert json.loads(shell.out) == {"deleted": "shop"}


class Terminal:
    def isatty(self) -> bool:
        return True


async def test_what_a_follower_makes_of_news(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps are told once; the end of the agent, and that of its stream, are failures."""
    app = parse_app(
        {
            "app": "shop",
            "release": None,
            "created_at": "2026-01-01T00:00:00Z",
            "rollout": {
                "state": "fetching",
                "release": 2,
                "step": "",
                "done": 0,
                "total": 0,
                "error": None,
                "lines": [],
            },
        }
    )

    def news(**told: object) -> AppNews:
        return AppNews(kind="rollout", app="shop", document={"release": 2, **told})

    async with open_client("http://127.0.0.1:1") as client, trio.open_nursery() as nursery:
        follower = _Follower(client=client, app=app, nursery=nursery)
        assert not follower.take(AppNews(kind="rollout", app="shop", document={"release": 1}))
        assert follower.take(AppNews(kind="release", app="shop", document={"release": 1}))
        for _ in range(2):
            assert follower.take(news(state="building", done=0, total=0, step="building"))
        assert capsys.readouterr().err == "smartmob: shop: building\n"
        send, receive = trio.open_memory_channel[Happening](9)
        await send.send(AppNews(kind="rollout", app="shop", document={"release": 1}))
        await send.send(news(state="rolling", done=1, total=2, step="shop.web.0"))
        await follower.follow(receive, show_output=True)  # type: ignore[arg-type]  # as a feed
        assert isinstance(follower.failure, ClientError)
        send.close()
        await follower.follow(receive, show_output=True)  # type: ignore[arg-type]  # as a feed
        assert "the agent has stopped" in str(follower.failure)

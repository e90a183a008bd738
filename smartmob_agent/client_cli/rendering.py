"""A file for whatever stands in front of processes, made of a template and what agents say."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from smartmob_agent.client import Client, ClientError, open_client
from smartmob_agent.client_cli.failure import FAILED, CommandError, explain
from smartmob_agent.client_cli.output import report
from smartmob_agent.client_cli.settings import Settings

__all__ = ["Render", "render_follow", "render_once"]

_SETTLE_TIME = 0.1
"""Seconds to wait for more news, which mostly comes in bursts."""
_RETRY_DELAY = 2.0
"""Seconds between two tries to reach an agent, or to write again."""


@attrs.frozen(kw_only=True)
class Render:
    """What is to be rendered.

    then: a command for /bin/sh, after each change; empty for none.
    """

    template: Path
    out: Path
    then: str = ""


async def render_once(agents: Sequence[Settings], render: Render) -> int:
    """Render what is now; return the exit code, which is that of `then` if it ran.

    Raises `CommandError` when an agent does not answer, or for a template that is not right.
    """
    world = _World(agents=agents)
    async with trio.open_nursery() as nursery:
        for agent in agents:
            nursery.start_soon(world.read_agent, agent)
    return await _make(render, world)


async def render_follow(agents: Sequence[Settings], render: Render) -> int:
    """Render what is now, and again after each change, until cancelled.

    What an agent said last counts while it does not answer.  A template that is not right, and a
    command that fails, are reported; both are tried again with the next change.
    """
    world = _World(agents=agents)
    async with trio.open_nursery() as nursery:
        for agent in agents:
            nursery.start_soon(world.follow_agent, agent)
        while True:
            await world.wait_news()
            try:
                code = await _make(render, world)
            except CommandError as error:
                report(error.line)
            else:
                if code:  # pragma: no branch  -- the tests have one that fails
                    report(f"{render.then!r} ended with exit code {code}")


@attrs.define(eq=False, kw_only=True)
class _World:
    """What agents have said.

    documents: name of an agent → its processes and apps, once it has answered.
    """

    agents: Sequence[Settings]
    documents: dict[str, Mapping[str, Any]] = attrs.field(factory=dict)
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def read_agent(self, agent: Settings) -> None:
        """Ask an agent; raises `CommandError`."""
        try:
            async with open_client(agent.url, token=agent.token, tls=agent.tls()) as client:
                await self._read(agent, client)
        except ClientError as exc:
            raise explain(exc) from exc

    async def follow_agent(self, agent: Settings) -> None:
        """Ask an agent whenever something has happened there."""
        is_told = False
        while True:
            try:
                async with (
                    open_client(
                        agent.url, token=agent.token, tls=agent.tls(), reconnect_timeout=0
                    ) as client,
                    client.events() as events,
                ):
                    async for _ in events:
                        is_told = False
                        await self._read(agent, client)
                        self._news.set()
            except (ClientError, CommandError) as exc:
                if not is_told:
                    report(f"{agent.name}: {exc}; trying again")
                    is_told = True
            await trio.sleep(_RETRY_DELAY)

    async def wait_news(self) -> None:
        """Wait until all agents have answered once, and something has happened since."""
        have_all = False
        while not have_all:
            await self._news.wait()
            self._news = trio.Event()
            have_all = len(self.documents) == len({agent.name for agent in self.agents})
        await trio.sleep(_SETTLE_TIME)
        self._news = trio.Event()

    async def _read(self, agent: Settings, client: Client) -> None:
        processes = [process.document for process in await client.list_processes()]
        apps = [app.document for app in await client.apps.list_all()]
        self.documents[agent.name] = {"processes": processes, "apps": apps}

    @property
    def variables(self) -> dict[str, Any]:
        """What a template can use."""
        agents, processes, apps = [], [], []
        for agent in self.agents:
            host = urlsplit(agent.url).hostname or "127.0.0.1"
            said = self.documents[agent.name]
            own = [{**one, "host": host, "agent": agent.name} for one in said["processes"]]
            processes += own
            agents.append({"name": agent.name, "host": host, "url": agent.url})
            for app in said["apps"]:
                slugs = {slug for kind in app["processes"].values() for slug in kind["slugs"]}
                slots = [one for one in own if one["slug"] in slugs]
                apps.append({**app, "host": host, "agent": agent.name, "slots": slots})
        return {"agents": agents, "processes": processes, "apps": apps}


async def _make(render: Render, world: _World) -> int:
    """Write the file if it is to change, and run the command then; return its exit code.

    If cancelled: the file is the old one or the new one, and the command has ended.
    """
    variables = world.variables
    text = await trio.to_thread.run_sync(_fill, render.template, variables)
    changed = await trio.to_thread.run_sync(_write, render.out, text.encode())
    if not changed or not render.then:
        return 0
    result = await trio.run_process(
        ["/bin/sh", "-c", render.then], check=False, stdin=subprocess.DEVNULL
    )
    return result.returncode


def _fill(template: Path, variables: Mapping[str, Any]) -> str:
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    try:
        text = template.read_text(encoding="utf-8")
        return environment.from_string(text).render(variables)
    except OSError as exc:
        raise CommandError(f"cannot read {template}: {exc.strerror}", code=FAILED) from exc
    except (TemplateError, ValueError, TypeError) as exc:
        line = getattr(exc, "lineno", None)
        where = f"{template} line {line}" if line else f"{template}"
        raise CommandError(f"{where}: {exc}", code=FAILED) from exc


def _write(out: Path, content: bytes) -> bool:
    """Replace the file as a whole, with the mode that it has; return whether it has changed."""
    try:
        mode = 0o644
        if out.exists():
            if out.read_bytes() == content:
                return False
            mode = out.stat().st_mode & 0o777
        with tempfile.NamedTemporaryFile(
            dir=out.parent, prefix=f".{out.name}.", delete=False
        ) as new:
            try:
                new.write(content)
                new.flush()
                os.fchmod(new.fileno(), mode)
                os.fsync(new.fileno())
                Path(new.name).replace(out)
            except BaseException:
                Path(new.name).unlink(missing_ok=True)
                raise
    except OSError as exc:
        raise CommandError(f"cannot write {out}: {exc.strerror}", code=FAILED) from exc
    return True

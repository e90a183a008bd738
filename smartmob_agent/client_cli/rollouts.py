"""A rollout as it goes: its steps, the output of new processes, and how it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import attrs
import trio

from smartmob_agent.client import (
    App,
    AppNews,
    Change,
    Client,
    ClientError,
    Feed,
    Happening,
    Line,
    NoSuchProcessError,
    ProcessFailedError,
)
from smartmob_agent.client_cli.control_sequences import without_controls
from smartmob_agent.client_cli.failure import FAILED, NO_PROCESS, CommandError
from smartmob_agent.client_cli.output import report, write_bytes, write_json, write_stderr

__all__ = ["change_app", "for_app"]

_TAIL = 1000
"""Lines of a process among which those of its new child are: it has just begun."""


async def for_app(work: Awaitable[int]) -> int:
    """Await what is about an app; one that is not there is told as such.

    Raises `CommandError`.
    """
    try:
        return await work
    except NoSuchProcessError as exc:
        hint = "smartmob apps lists them"
        raise CommandError(exc.detail, hint=hint, code=NO_PROCESS) from exc


async def change_app(
    client: Client,
    name: str,
    change: Callable[[], Awaitable[App]],
    *,
    wait: bool,
    as_json: bool,
    show_output: bool = True,
) -> int:
    """Change an app and follow the rollout that comes of it; return the exit code.

    change: makes the request.
    wait: else only make the request.
    as_json: write the document of the app at the end, in place of the output.
    """
    if not wait:
        app = await change()
        _write(app, as_json=as_json)
        return 0
    async with client.events(apps=[name]) as events:
        await events.receive()  # The snapshot: from here on nothing is missed.
        app = await change()
        report(f"{name}: release {app.rollout.release}")
        show = show_output and not as_json
        async with trio.open_nursery() as nursery:
            follower = _Follower(client=client, app=app, nursery=nursery)
            await follower.follow(events, show_output=show)
            nursery.cancel_scope.cancel(reason="the rollout is over")
    if follower.failure is not None:
        raise follower.failure
    return _end(follower.app, as_json=as_json)


def _write(app: App, *, as_json: bool) -> None:
    if as_json:
        write_json(app.document)
    else:
        write_bytes(f"{app.app}\trelease {app.rollout.release}\t{app.rollout.state}\n".encode())


def _end(app: App, *, as_json: bool) -> int:
    rollout = app.rollout
    if rollout.state == "done":
        _write(app, as_json=as_json)
        return 0
    if as_json:
        write_json(app.document)
    report(f"{app.app}: release {rollout.release}: {rollout.state}: {rollout.error}")
    if rollout.lines:
        write_stderr("".join(f"    {without_controls(line)}\n" for line in rollout.lines))
    if app.release is not None:
        report(f"{app.app}: release {app.release} serves")
    return FAILED


@attrs.define(eq=False, kw_only=True)
class _Follower:
    """What is shown of one rollout.

    app: as it is by now.
    release: that is on its way.
    """

    client: Client
    app: App
    nursery: trio.Nursery
    release: int = attrs.field(init=False)
    failure: ClientError | CommandError | None = None
    _told: str = ""
    _shown: set[tuple[str, int | None]] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.release = self.app.rollout.release

    async def follow(self, events: Feed[Happening], *, show_output: bool) -> None:
        """Go on until the rollout is over, or it is known why nobody can say so: `failure`."""
        try:
            while not self.app.rollout.has_ended:
                happening = await events.receive()
                if isinstance(happening, Change):
                    self.show_output(happening, wanted=show_output)
                elif not isinstance(happening, AppNews) or self.take(happening):
                    # News of what came before are rare, and change nothing.
                    self.app = await self.client.apps.get(self.app.app)
                if self.app.rollout.release != self.release:
                    superseded = f"{self.app.app}: release {self.release} was superseded"
                    self.failure = CommandError(superseded)
                    return
        except trio.EndOfChannel:
            self.failure = ProcessFailedError(self.app.app, "the agent has stopped", None)
        except ClientError as exc:
            self.failure = exc

    def take(self, news: AppNews) -> bool:
        """Tell a step; return whether it may have been the last one."""
        told = news.document
        if news.kind != "rollout" or told.get("release") != self.release:
            return news.kind != "rollout"
        text = f"{told.get('state')} {told.get('done')}/{told.get('total')} {told.get('step')}"
        if told.get("total") == 0:
            text = str(told.get("state"))
        if text != self._told:
            self._told = text
            report(f"{self.app.app}: {text.strip()}")
        return True

    def show_output(self, change: Change, *, wanted: bool) -> None:
        """Begin to write what a new child writes, if that is wanted."""
        is_new = (
            wanted and change.document.get("release") == self.release and change.pid is not None
        )
        if is_new and (change.slug, change.pid) not in self._shown:
            self._shown.add((change.slug, change.pid))
            self.nursery.start_soon(partial(self._write_output, change.slug, change.pid))

    async def _write_output(self, slug: str, pid: int | None) -> None:
        with suppress(ClientError):  # What is wrong with the agent is told by the events.
            async with self.client.records(slug, tail=_TAIL) as records:
                async for record in records:
                    if isinstance(record, Line) and record.pid == pid:
                        text = f"{slug} | {without_controls(record.text)}\n"
                        write_bytes(text.encode("utf-8", "replace"))

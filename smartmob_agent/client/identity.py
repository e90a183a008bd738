"""One process, told apart from a later one with the same slug."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime

from smartmob_agent.client.documents import Process, parse_process
from smartmob_agent.client.errors import NoConnectionError, NoSuchProcessError, ProcessEndedError
from smartmob_agent.client.network import Requests
from smartmob_agent.client.reconnect import ReconnectBackoff

__all__ = ["SLUG", "Identity", "path_of", "run_with_reconnects"]


SLUG = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]+")
"""`.` and `..` would be taken out of a path on its way: RFC 3986, section 5.2.4."""


def path_of(action: str, slug: str) -> str:
    """Return the path of what can be done with a process.

    Raises `NoSuchProcessError` for what is no slug, and might name something else in a path.
    """
    if not SLUG.fullmatch(slug):
        raise NoSuchProcessError(404, f"no process has the slug {slug!r}")
    return f"/{action}/{slug}"


class Identity:
    """Which process it is that has a slug."""

    def __init__(self, requests: Requests, slug: str) -> None:
        self._requests = requests
        self._slug = slug
        self._created_at: datetime | None = None

    async def learn(self) -> None:
        """Remember the process that has the slug now."""
        self._created_at = (await self._look()).created_at

    async def check(self) -> None:
        """Raise `ProcessEndedError` unless it is still the same."""
        try:
            process = await self._look()
        except NoSuchProcessError as exc:
            raise self._ended("deleted") from exc
        if process.created_at != self._created_at:
            raise self._ended("replaced by another one")

    async def _look(self) -> Process:
        answer = await self._requests.request("GET", path_of("process-status", self._slug))
        return parse_process(answer.document())

    def _ended(self, how: str) -> ProcessEndedError:
        return ProcessEndedError(
            f"the process {self._slug!r} was {how} while the connection was lost: "
            "its last lines may be missing"
        )


async def run_with_reconnects(
    attempt: Callable[[], Awaitable[None]],
    check: Callable[[], Awaitable[None]],
    backoff: ReconnectBackoff,
) -> None:
    """Repeat an attempt while its connection is lost, until it returns or the limit is reached.

    check: called before each attempt but the first.

    Raises what both raise; `NoConnectionError` only when the limit is reached.
    """
    try:
        return await attempt()
    except NoConnectionError as exc:
        await backoff.wait(exc)
    while True:
        try:
            await check()
            return await attempt()
        except NoConnectionError as exc:
            await backoff.wait(exc)

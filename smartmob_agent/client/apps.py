"""Apps of an agent: deploy, roll back, scale."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from smartmob_agent.client.documents import parse_json, structure
from smartmob_agent.client.errors import BadAnswerError, NoSuchProcessError
from smartmob_agent.client.identity import SLUG
from smartmob_agent.client.network import Requests

__all__ = ["ENDED", "AgentApps", "App", "AppNews", "Release", "Rollout", "parse_app", "parse_news"]

ENDED = frozenset({"done", "failed", "rolled back", "halted", "superseded"})
"""States in which a rollout is over."""


@attrs.frozen(kw_only=True)
class Rollout:
    """The latest rollout of an app.

    state: one of the documented states; newer agents may have more.
    step: what is under way, or what failed.
    done, total: slots.
    error, lines: why it failed, and the last output of what did.
    """

    state: str
    release: int
    step: str
    done: int
    total: int
    error: str | None
    lines: list[str]

    @property
    def has_ended(self) -> bool:
        """Whether it is over, one way or the other."""
        return self.state in ENDED


@attrs.frozen(kw_only=True)
class App:
    """An app at the moment of the answer.

    release: the one that serves; None before the first is done.
    document: the JSON object as received.
    """

    app: str
    release: int | None
    created_at: datetime
    rollout: Rollout
    document: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def counts(self) -> Mapping[str, tuple[int, int, int]]:
        """Process type → how many are wanted, are there, and are ready."""
        return {
            kind: (one["wanted"], one["count"], one["ready"])
            for kind, one in self.document["processes"].items()
        }


@attrs.frozen(kw_only=True)
class Release:
    """One release of an app.

    outcome: `rolling`, `done`, `failed`, `halted` or `superseded`.
    document: the JSON object as received.
    """

    release: int
    created_at: datetime
    source_url: str
    outcome: str
    error: str | None
    rollback_of: int | None
    document: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class AppNews:
    """Something has happened to an app.

    kind: `app`, `release` or `rollout`.
    document: the JSON object as received.
    """

    kind: str
    app: str
    document: Mapping[str, Any]


class AgentApps:
    """The apps of one agent: `Client.apps`.

    All calls raise `ClientError`; `NoSuchProcessError` when there is no such app or release, and
    `ConflictError` when what was waited for has failed: `release`, `step` and `lines` of its
    document say where.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def list_all(self) -> list[App]:
        """Return all apps, by name."""
        answer = await self._requests.request("GET", "/apps")
        return [parse_app(one) for one in _items(answer.document(), "apps")]

    async def get(self, name: str) -> App:
        """Return an app."""
        return parse_app((await self._requests.request("GET", _path(name))).document())

    async def put(
        self, name: str, body: Mapping[str, object], *, wait: bool = False, match: str | None = None
    ) -> App:
        """Deploy a release; the app is made if there is none.

        body: as of `PUT /apps/APP`.
        wait: return when the release serves.
        match: the `ETag` that what is wanted must have.
        """
        return await self._change("PUT", _path(name), body, wait=wait, match=match)

    async def patch(
        self, name: str, body: Mapping[str, object], *, wait: bool = False, match: str | None = None
    ) -> App:
        """Change counts, variables or options; as `put`."""
        return await self._change("PATCH", _path(name), body, wait=wait, match=match)

    async def roll_back(self, name: str, to: int | None = None, *, wait: bool = False) -> App:
        """Go back to a release; None for the last one before that which serves."""
        body = {} if to is None else {"to": to}
        return await self._change("POST", f"{_path(name)}/rollback", body, wait=wait, match=None)

    async def releases(self, name: str) -> list[Release]:
        """Return the latest releases, the newest first."""
        answer = await self._requests.request("GET", f"{_path(name)}/releases")
        found = _items(answer.document(), "releases")
        return [attrs.evolve(structure(one, Release), document=one) for one in found]

    async def delete(self, name: str) -> None:
        """Delete an app with all its processes, and wait until nothing of it is left.

        If cancelled: stops waiting; the agent deletes it all the same.
        """
        await self._requests.request("DELETE", _path(name), long_running=True)

    async def _change(
        self, method: str, path: str, body: Mapping[str, object], *, wait: bool, match: str | None
    ) -> App:
        answer = await self._requests.request(
            method,
            path,
            query={"wait": int(wait)},
            body=json.dumps(body).encode(),
            headers={} if match is None else {"If-Match": match},
            long_running=True,
        )
        return parse_app(answer.document())


def parse_app(document: object) -> App:
    """Read the document of an app; raises `BadAnswerError`."""
    app = structure(document, App)
    return attrs.evolve(app, document=document)  # type: ignore[arg-type]  # It was an object.


def parse_news(kind: str, data: str) -> AppNews:
    """Read an event of an app; raises `BadAnswerError`."""
    document = parse_json(data)
    if not isinstance(document, dict) or not isinstance(document.get("app"), str):
        raise BadAnswerError(f"expected an event of an app, found {data!a:.60}")
    return AppNews(kind=kind, app=document["app"], document=document)


def _items(document: object, name: str) -> list[Any]:
    found = document.get(name) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise BadAnswerError(f"expected a list of {name}, found {document!a:.60}")
    return found


def _path(name: str) -> str:
    if not SLUG.fullmatch(name):
        raise NoSuchProcessError(404, f"no app has the name {name!r}")
    return f"/apps/{name}"

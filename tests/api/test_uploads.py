"""`PUT /upload-source`, on the virtual clock."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import AgentConfig, Cache, SourceLimits
from smartmob_agent.errors import DownloadError, TransientError
from smartmob_agent.http.middleware.disconnect import cancel_at_disconnect
from smartmob_agent.process.states import State
from tests.api.asgi import Site, open_site
from tests.api.test_app import check_problem
from tests.process.world import World, settle

Clock = trio.testing.MockClock

ARCHIVE = b"archive" * 1000
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()
URL = f"smartmob:sha256:{DIGEST}"


async def test_an_upload_gets_a_name() -> None:
    """It tells what came."""
    world = World()
    async with open_site(world) as site:
        answer = await site.client.put("/upload-source", content=ARCHIVE)
        assert (answer.status_code, answer.headers["location"]) == (201, URL)
        assert answer.json() == {"source_url": URL, "sha256": DIGEST, "size": len(ARCHIVE)}
        [part] = world.workspaces.cache.parts
        assert (part.content, part.removed) == (ARCHIVE, True)


async def test_an_uploaded_app_runs(autojump_clock: Clock) -> None:
    """Nothing is downloaded; the status says what runs."""
    world = World()
    async with open_site(world) as site:
        await site.client.put("/upload-source", content=ARCHIVE)
        await site.create(source_url=URL.replace(DIGEST, DIGEST.upper()))
        await site.supervisor.get("app.web.0").wait_state(State.RUNNING)
        status = (await site.client.get("/process-status/app.web.0")).json()
        assert (status["source_sha256"], status["download"]) == (DIGEST, None)
    assert world.fetcher.requests == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, f"{URL}: there is no such upload; upload it again"),
        (
            {"source_sha256": "0" * 64},
            f"{URL}: expected the SHA-256 digest {'0' * 64}, found {DIGEST}",
        ),
    ],
)
async def test_an_upload_that_is_not_there_is_a_download_failure(
    changes: dict[str, str], error: str
) -> None:
    async with open_site() as site:
        await site.create(source_url=URL, **changes)
        process = site.supervisor.get("app.web.0")
        await process.wait_state(State.DOWNLOAD_FAILURE)
        assert process.error == error


@pytest.mark.parametrize(
    ("error", "status"), [(DownloadError("no archive"), 422), (TransientError("disk full"), 507)]
)
async def test_what_is_no_archive_or_has_no_place_is_refused(error: Exception, status: int) -> None:
    """And nothing of it is left."""
    world = World()
    world.workspaces.cache.errors.append(error)
    async with open_site(world) as site:
        answer = await site.client.put("/upload-source", content=b"<html>")
        document = check_problem(answer, status)
        assert document["detail"] == str(error)
        assert [part.removed for part in world.workspaces.cache.parts] == [True]


@pytest.mark.parametrize(
    "config",
    [
        AgentConfig(source=SourceLimits(archive_bytes=5)),
        AgentConfig(cache=Cache(cache_bytes=5)),
    ],
)
async def test_an_upload_over_the_limit_is_refused(config: AgentConfig) -> None:
    """That of archives, and what is larger than the whole cache has no place in it."""
    world = World(config=config)
    async with open_site(world) as site:
        check_problem(await site.client.put("/upload-source", content=bytes(6)), 413)
        assert [part.removed for part in world.workspaces.cache.parts] == [True]
        answer = await site.client.put("/upload-source", content=bytes(5))
        assert answer.status_code == 201


async def test_a_part_of_an_archive_is_refused() -> None:
    """RFC 9110, section 14.5."""
    async with open_site() as site:
        headers = {"Content-Range": "bytes 0-4/9"}
        answer = await site.client.put("/upload-source", content=bytes(5), headers=headers)
        check_problem(answer, 400)


async def test_another_method_is_refused() -> None:
    async with open_site() as site:
        answer = await site.client.get("/upload-source")
        check_problem(answer, 405)
        assert answer.headers["allow"] == "OPTIONS, PUT"


async def test_who_asks_for_the_methods_is_told() -> None:
    """As at all other paths."""
    async with open_site() as site:
        answer = await site.client.options("/upload-source")
        assert (answer.status_code, answer.headers["allow"]) == (200, "OPTIONS, PUT")


async def test_an_agent_that_stops_takes_no_upload() -> None:
    async with open_site() as site:
        site.supervisor.close()
        check_problem(await site.client.put("/upload-source", content=ARCHIVE), 503)


class Peer:
    """A client that sends what a test says, piece by piece."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = list(pieces)
        self.gone = trio.Event()
        self.answers: list[Any] = []

    async def receive(self) -> Any:
        if self._pieces:
            return {"type": "http.request", "body": self._pieces.pop(0), "more_body": True}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.answers.append(message)

    async def put(self, site: Site) -> None:
        scope = {
            "type": "http",
            "method": "PUT",
            "scheme": "http",
            "path": "/upload-source",
            "query_string": b"",
            "headers": [],
            "request_id": "r",
        }
        await cancel_at_disconnect(site.app)(scope, self.receive, self.send)


async def test_an_upload_whose_client_leaves_is_nothing() -> None:
    """Whatever was written is removed."""
    world = World()
    async with open_site(world) as site, trio.open_nursery() as nursery:
        peer = Peer([bytes(600_000)] * 2)
        nursery.start_soon(peer.put, site)
        await settle()
        [part] = world.workspaces.cache.parts
        assert (len(part.content), part.removed) == (1_200_000, False)
        peer.gone.set()
        await settle()
        assert [part.removed for part in world.workspaces.cache.parts] == [True]
        assert world.workspaces.cache.archives == {}
        assert peer.answers == []


async def test_an_agent_that_stops_cuts_uploads() -> None:
    """With an answer, as it would to one that comes later."""
    world = World()
    async with open_site(world) as site, trio.open_nursery() as nursery:
        peer = Peer([b"x"])
        nursery.start_soon(peer.put, site)
        await settle()
        site.supervisor.kill()
        await settle()
        assert peer.answers[0]["status"] == 503
        assert [part.removed for part in world.workspaces.cache.parts] == [True]

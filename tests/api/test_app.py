"""The HTTP API without sockets, on the virtual clock."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import uuid
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import AgentConfig, HttpLimits
from smartmob_agent.errors import UnpackError
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeFetcher, FakeSpawner, FakeWorkspaces
from tests.api.asgi import CREATE, config, open_site
from tests.process.world import World

Clock = trio.testing.MockClock


def check_problem(answer: httpx.Response, status: int) -> Any:
    """Check a problem document by RFC 9457 and return it."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert set(document) - {"errors"} == {"type", "title", "status", "detail"}
    return document


async def test_the_index_holds_two_links_and_nothing_else() -> None:
    async with open_site() as site:
        answer = await site.client.get("/")
        assert answer.json() == {
            "create": "http://agent/create-process",
            "list": "http://agent/list-processes",
        }
        assert answer.headers["link"] == (
            '<http://agent/openapi.json>; rel="service-desc"; '
            'type="application/vnd.oai.openapi+json", '
            '<http://agent/apps>; rel="smartmob:apps"; type="application/json", '
            '<http://agent/metrics>; rel="smartmob:metrics"; type="text/plain", '
            '<http://agent/upload-source>; rel="smartmob:upload-source"'
        )


async def test_a_created_process_is_pending_and_has_its_place(autojump_clock: Clock) -> None:
    async with open_site() as site:
        answer = await site.create()
        assert answer.status_code == 201
        assert answer.headers["location"] == "http://agent/process-status/app.web.0"
        assert answer.json() == {
            "app": "app",
            "node": "web.0",
            "process_type": "web",
            "slug": "app.web.0",
            "state": "pending",
            "attach": "ws://agent/attach-console/app.web.0",
            "details": "http://agent/process-status/app.web.0",
            "status": "http://agent/process-status/app.web.0",
            "delete": "http://agent/delete-process/app.web.0",
            "pid": None,
            "port": None,
            "ready": False,
            "release": None,
            "restarts": 0,
            "failures": 0,
            "created_at": "2026-01-01T00:00:00.000Z",
            "started_at": None,
            "exit": None,
            "last_crash": None,
            "error": None,
            "next_start_at": None,
            "containment": "tree",
            "source_sha256": None,
            "download": None,
            "build": None,
        }


async def test_the_status_of_a_running_process(autojump_clock: Clock) -> None:
    async with open_site(World(fetcher=FakeFetcher(delay=1.5))) as site:
        await site.create()
        await site.supervisor.get("app.web.0").wait_state(State.RUNNING)
        status = (await site.client.get("/process-status/app.web.0")).json()
        assert (status["state"], status["pid"], status["started_at"]) == (
            "running",
            1000,
            "2026-01-01T00:00:01.500Z",
        )


async def test_the_status_tells_of_the_download_and_of_what_it_brought(
    autojump_clock: Clock,
) -> None:
    async with open_site(World(fetcher=FakeFetcher(delay=1.5))) as site:
        await site.create()
        await trio.sleep(1)
        status = (await site.client.get("/process-status/app.web.0")).json()
        assert (status["state"], status["source_sha256"]) == ("downloading", None)
        assert status["download"] == {"received": 0, "total": 0}
        await site.supervisor.get("app.web.0").wait_state(State.RUNNING)
        status = (await site.client.get("/process-status/app.web.0")).json()
        digest = hashlib.sha256(b"").hexdigest()
        assert (status["download"], status["source_sha256"]) == (None, digest)


async def test_the_status_of_a_process_in_backoff(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        await site.create()
        process = site.supervisor.get("app.web.0")
        (await world.spawner.next_child()).exit(3)
        await process.wait_state(State.BACKOFF)
        status = (await site.client.get(process_url := "/process-status/app.web.0")).json()
        assert (status["state"], status["exit"], status["next_start_at"]) == (
            "backoff",
            {"code": 3},
            "2026-01-01T00:00:01.000Z",
        )
        (await world.spawner.next_child()).die(signal.SIGKILL)
        await process.wait_state(State.BACKOFF)
        status = (await site.client.get(process_url)).json()
        assert (status["exit"], status["restarts"]) == ({"signal": "SIGKILL"}, 1)


async def test_processes_are_listed_in_order() -> None:
    async with open_site() as site:
        for app in ("b", "a"):
            await site.create(app=app)
        answer = (await site.client.get("/list-processes")).json()
        assert [process["slug"] for process in answer["processes"]] == ["b.web.0", "a.web.0"]


async def test_the_type_of_the_content_does_not_matter() -> None:
    async with open_site() as site:
        answer = await site.client.post(
            "/create-process",
            content=json.dumps(CREATE),
            headers={"Content-Type": "text/plain"},
        )
        assert answer.status_code == 201


async def test_secrets_are_shown_nowhere(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = World(workspaces=FakeWorkspaces(errors=[UnpackError("damaged")]))
    async with open_site(world) as site:
        await site.create(
            source_url="http://user:hunter2@host/a?key=hunter2", env={"PASSWORD": "hunter2"}
        )
        await site.supervisor.get("app.web.0").wait_state(State.UNPACK_FAILURE)
        answer = await site.client.get("/list-processes")
        assert "hunter2" not in answer.text
    assert "hunter2" not in caplog.text


async def test_a_delete_answers_when_nothing_is_left(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with open_site(world) as site:
        await site.create()
        await world.spawner.next_child()
        answer = await site.client.post("/delete-process/app.web.0", content=b"{}")
        assert (answer.status_code, answer.json(), trio.current_time()) == (200, {}, 10)
        check_problem(await site.client.get("/process-status/app.web.0"), 404)


async def test_a_delete_needs_no_body() -> None:
    async with open_site() as site:
        await site.create()
        answer = await site.client.post("/delete-process/app.web.0", content=b" \n")
        assert answer.status_code == 200


async def test_a_delete_with_something_to_say_is_refused() -> None:
    async with open_site() as site:
        await site.create()
        answer = await site.client.post("/delete-process/app.web.0", json={"force": True})
        assert check_problem(answer, 400)["errors"] == ["unknown field @ $.force"]


async def test_two_deletes_at_once_both_succeed(autojump_clock: Clock) -> None:
    world, codes = World(spawner=FakeSpawner(obey=False)), []
    async with open_site(world) as site:
        await site.create()
        await world.spawner.next_child()

        async def delete() -> None:
            codes.append((await site.client.post("/delete-process/app.web.0")).status_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete)
            nursery.start_soon(delete)
    assert codes == [200, 200]


async def test_a_slug_in_use_is_a_conflict() -> None:
    async with open_site() as site:
        await site.create()
        problem = check_problem(await site.create(), 409)
        assert problem["detail"].startswith("a process with the slug 'app.web.0' exists")


async def test_a_stopping_agent_takes_no_new_process() -> None:
    async with open_site() as site:
        site.supervisor.close()
        problem = check_problem(await site.create(), 503)
        assert problem["detail"] == "the agent is stopping and takes no new process"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/process-status/nobody.0"),
        ("POST", "/delete-process/nobody.0"),
        ("GET", "/attach-console/nobody.0"),
        ("GET", "/nowhere"),
        ("GET", "/process-status/"),
        ("GET", "/static/x"),
        ("GET", "/process-status/a%2Fb"),
    ],
)
async def test_what_is_not_there_is_a_problem_too(method: str, path: str) -> None:
    async with open_site() as site:
        check_problem(await site.client.request(method, path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/create-process", {"POST", "OPTIONS"}),
        ("DELETE", "/process-status/app.web.0", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/delete-process/app.web.0", {"POST", "OPTIONS"}),
    ],
)
async def test_a_wrong_method_names_the_right_ones(
    method: str, path: str, allowed: set[str]
) -> None:
    async with open_site() as site:
        answer = await site.client.request(method, path)
        check_problem(answer, 405)
        assert set(answer.headers["allow"].split(", ")) == allowed


async def test_a_plain_get_of_the_console_is_told_to_upgrade() -> None:
    async with open_site() as site:
        await site.create()
        answer = await site.client.get("/attach-console/app.web.0")
        check_problem(answer, 426)
        assert answer.headers["upgrade"] == "websocket"


async def test_a_body_over_the_limit_is_refused() -> None:
    world = World(config=AgentConfig(http=HttpLimits(body_bytes=1000)))
    async with open_site(world) as site:
        problem = check_problem(await site.create(app="x" * 1000), 413)
        assert problem["detail"] == "expected a body of at most 1000 bytes, found a longer one"


async def test_all_errors_of_a_request_are_told_at_once() -> None:
    async with open_site() as site:
        answer = await site.client.post(
            "/create-process", json={"app": 1, "source_url": "ftp://x/", "more": 2}
        )
        errors = check_problem(answer, 400)["errors"]
        assert len(errors) == 5
        assert "required field missing @ $.node" in errors


async def test_a_defect_is_logged_and_its_traceback_stays_here(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site() as site:

        def defect(_spec: object) -> None:
            raise ZeroDivisionError("secret detail")

        monkeypatch.setattr(site.supervisor, "create", defect)
        answer = await site.client.post(
            "/create-process", json=CREATE, headers={"X-Request-Id": "req-7"}
        )
        problem = check_problem(answer, 500)
        assert "req-7" in problem["detail"]
        assert "secret" not in answer.text
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert (record.message, record.__dict__["request_id"]) == ("request failed", "req-7")


async def test_a_sane_request_id_is_given_back_and_passed_on(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        answer = await site.client.post(
            "/create-process", json=CREATE, headers={"X-Request-Id": "trace-42"}
        )
        assert answer.headers["x-request-id"] == "trace-42"
        await world.spawner.next_child()
        assert world.fetcher.requests == [(CREATE["source_url"], "trace-42")]


@pytest.mark.parametrize("sent", [None, "", "with space", "x" * 129, "é".encode()])
async def test_any_other_request_id_is_replaced(sent: str | bytes | None) -> None:
    async with open_site() as site:
        headers = {} if sent is None else {"X-Request-Id": sent}
        answer = await site.client.get("/nowhere", headers=headers)  # type: ignore[arg-type]
        assert str(uuid.UUID(answer.headers["x-request-id"])) == answer.headers["x-request-id"]


async def test_links_begin_with_the_public_url_if_there_is_one() -> None:
    world = World(config=config(public_url="https://example.net/agent"))
    async with open_site(world) as site:
        links = (await site.create()).json()
        assert links["details"] == "https://example.net/agent/process-status/app.web.0"
        assert links["attach"] == "wss://example.net/agent/attach-console/app.web.0"


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("agent.lan:8080", "http://agent.lan:8080"),
        ("[::1]:80", "http://[::1]:80"),
        ("a b", "http://127.0.0.1:8080"),
        ("evil/path", "http://127.0.0.1:8080"),
        ("", "http://127.0.0.1:8080"),
    ],
)
async def test_links_begin_with_the_host_of_the_request_if_it_is_one(host: str, base: str) -> None:
    async with open_site() as site:
        answer = await site.client.get("/", headers={"Host": host})
        assert answer.json()["list"] == f"{base}/list-processes"


async def test_head_and_options_work() -> None:
    async with open_site() as site:
        head = await site.client.head("/")
        options = await site.client.options("/create-process")
        assert (head.status_code, options.status_code) == (200, 200)
        assert set(options.headers["allow"].split(", ")) == {"POST", "OPTIONS"}

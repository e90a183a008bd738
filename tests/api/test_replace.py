"""Version 2 in the place of version 1, by HTTP."""

from __future__ import annotations

from typing import Any

import attrs
import trio
import trio.testing

from smartmob_agent.process.policies import Readiness
from tests.api.asgi import open_site
from tests.process.world import World, make_spec, settle

Clock = trio.testing.MockClock
WISH: dict[str, Any] = {
    "source_url": "http://127.0.0.1/2.zip",
    "process_type": "web",
    "ready": {"after": 2},
}


async def test_a_replacement_is_under_way_when_it_is_kept(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        await site.create()
        process = site.supervisor.get("app.web.0")
        await process.wait_ready()
        answer = await site.client.post("/replace-process/app.web.0", json=WISH)
        assert (answer.status_code, answer.json()["pid"]) == (202, 1000)
        await trio.sleep(2)
        await settle()
        status = (await site.client.get("/process-status/app.web.0")).json()
        assert (status["pid"], status["port"], status["ready"]) == (1001, 20001, True)
        assert process.spec.app == "app"
        assert process.spec.ready == Readiness(after=2)


async def test_who_waits_hears_of_the_switch(autojump_clock: Clock) -> None:
    """Not of the end of the old child: that drains."""
    async with open_site() as site:
        await site.create()
        await site.supervisor.get("app.web.0").wait_ready()
        answer = await site.client.post(
            "/replace-process/app.web.0?wait=1", json={**WISH, "drain": 60, "order": "start-first"}
        )
        assert (answer.status_code, answer.json()["pid"], trio.current_time()) == (200, 1001, 2)


async def test_who_waits_hears_why_it_failed(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site, trio.open_nursery() as nursery:
        await site.create()
        await site.supervisor.get("app.web.0").wait_ready()

        async def fail() -> None:
            await trio.sleep(1)
            world.spawner.children[1].write(b"no flask\n")
            await settle()
            world.spawner.children[1].exit(1)

        nursery.start_soon(fail)
        answer = await site.client.post("/replace-process/app.web.0?wait=1", json=WISH)
        assert answer.status_code == 409
        assert answer.json() == {
            "type": "about:blank",
            "title": "Conflict",
            "status": 409,
            "detail": "app.web.0 goes on as it was: waiting failed: "
            "the child ended with exit code 1 after 1.0 s",
            "step": "waiting",
            "lines": ["no flask"],
        }


async def test_what_may_not_be_there_is_named(autojump_clock: Clock) -> None:
    async with open_site() as site:
        await site.create()
        answer = await site.client.post(
            "/replace-process/app.web.0", json={**WISH, "app": "x", "order": "later"}
        )
        assert answer.status_code == 400
        assert answer.json()["errors"] == [
            "expected one of start-first, stop-first, found 'later' @ $.order",
            "unknown field @ $.app",
        ]
        answer = await site.client.post("/replace-process/nobody", json=WISH)
        assert answer.status_code == 404


async def test_what_belongs_to_an_app_is_changed_through_it(autojump_clock: Clock) -> None:
    async with open_site() as site:
        spec = attrs.evolve(make_spec(), owner="app", release=3)
        await site.supervisor.create(spec).wait_ready()
        for path, body in (("replace-process", WISH), ("delete-process", {})):
            answer = await site.client.post(f"/{path}/app.web.0", json=body)
            assert answer.status_code == 409
            assert "belongs to the app 'app'" in answer.json()["detail"]
        answer = await site.client.post("/restart-process/app.web.0?wait=1")
        assert (answer.status_code, answer.json()["release"]) == (200, 3)

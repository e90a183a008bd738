"""Apps by HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
import trio.testing

from smartmob_agent.api.app import ROUTES
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import UnpackError
from smartmob_agent.http.middleware.traffic import Traffic
from smartmob_agent.metrics.catalogue import read_families
from smartmob_agent.testing import FakeSpawner, FakeWorkspaces
from tests.api.asgi import Site, make_context, open_site
from tests.process.world import World, make_spec, settle

Clock = trio.testing.MockClock
READY = {"ready": {"after": 0}}
PUT: dict[str, Any] = {
    "source_url": "http://user:secret@127.0.0.1/1.zip?key=secret",
    "processes": {"web": {"count": 2, **READY}},
    "watch": 1,
    "drain": 0,
}


async def put(site: Site, query: str = "?wait=1", **changes: Any) -> httpx.Response:
    return await site.client.put(f"/apps/shop{query}", json={**PUT, **changes})


async def test_a_put_makes_an_app_and_deploys_it(autojump_clock: Clock) -> None:
    async with open_site() as site:
        answer = await put(site, "", env={"SECRET": "x"})
        assert (answer.status_code, answer.headers["etag"]) == (202, '"19b76daa800-1"')
        app = answer.json()
        assert app["rollout"]["state"] == "fetching"
        assert app["release"] is None
        await trio.sleep(10)
        answer = await site.client.get("/apps/shop")
        app = answer.json()
        assert app["release"] == 1
        assert app["processes"] == {
            "web": {"wanted": 2, "count": 2, "ready": 2, "slugs": ["shop.web.0", "shop.web.1"]}
        }
        assert app["wanted"]["env"] == ["SECRET"]
        assert app["wanted"]["source_url"] == "http://127.0.0.1/1.zip"
        assert app["wanted"]["processes"] == {"web": {"count": 2, **READY}}
        assert "secret" not in answer.text.lower().replace('"secret"', "")
        assert app["rollout"]["state"] == "done"
        assert (app["rollout"]["done"], app["rollout"]["total"]) == (2, 2)
        assert answer.headers["etag"] == '"19b76daa800-1"'
        listed = (await site.client.get("/apps")).json()
        assert listed == {"apps": [app]}
        releases = (await site.client.get("/apps/shop/releases")).json()["releases"]
        assert [(one["release"], one["outcome"]) for one in releases] == [(1, "done")]


async def test_what_a_put_leaves_out_stays(autojump_clock: Clock) -> None:
    async with open_site() as site:
        await put(site, env={"A": "1"})
        answer = await put(
            site,
            source_url="http://127.0.0.1/2.zip",
            processes={"web": {"stop": {"timeout": 3}}},
            env={"B": "2"},
        )
        wanted = answer.json()["wanted"]
        assert wanted["processes"] == {"web": {"count": 2, **READY, "stop": {"timeout": 3}}}
        assert (wanted["env"], wanted["release"]) == (["B"], 2)
        answer = await site.client.put(
            "/apps/shop?wait=1", json={"source_url": "http://127.0.0.1/3.zip"}
        )
        wanted = answer.json()["wanted"]
        assert wanted["processes"] == {"web": {"count": 2, **READY, "stop": {"timeout": 3}}}
        assert (wanted["env"], wanted["watch"]) == (["B"], 1)


async def test_a_patch_of_counts_makes_no_release(autojump_clock: Clock) -> None:
    async with open_site() as site:
        await put(site)
        answer = await site.client.patch(
            "/apps/shop?wait=1", json={"processes": {"web": {"count": 3}}}
        )
        app = answer.json()
        assert (answer.status_code, app["release"], app["wanted"]["release"]) == (200, 1, 1)
        assert app["processes"]["web"]["ready"] == 3
        assert answer.headers["etag"] == '"19b76daa800-2"'
        answer = await site.client.patch("/apps/shop?wait=1", json={"parallel": 2})
        assert (answer.status_code, answer.json()["wanted"]["parallel"]) == (200, 2)


async def test_a_patch_of_variables_does(autojump_clock: Clock) -> None:
    async with open_site() as site:
        await put(site, env={"A": "1", "B": "2"})
        answer = await site.client.patch(
            "/apps/shop?wait=1", json={"env": {"A": None, "C": "3", "D": None}}
        )
        app = answer.json()
        assert (app["release"], app["wanted"]["env"]) == (2, ["B", "C"])
        assert site.supervisor.get("shop.web.0").spec.env == {"B": "2", "C": "3"}
        answer = await site.client.patch(
            "/apps/shop?wait=1", json={"processes": {"web": {"stop": {"timeout": 1}}}}
        )
        assert answer.json()["release"] == 3


async def test_a_rollback(autojump_clock: Clock) -> None:
    async with open_site() as site:
        await put(site)
        answer = await site.client.post("/apps/shop/rollback")
        assert answer.status_code == 404
        assert answer.json()["detail"] == "the app 'shop' has no release to go back to"
        await put(site)
        answer = await site.client.post("/apps/shop/rollback?wait=1")
        app = answer.json()
        assert (answer.status_code, app["release"], app["rollout"]["rollback_of"]) == (200, 3, 1)
        answer = await site.client.post("/apps/shop/rollback?wait=1", json={"to": 2})
        assert answer.json()["release"] == 4
        answer = await site.client.post("/apps/shop/rollback", json={"to": 9})
        assert answer.status_code == 404


async def test_who_waits_hears_what_failed(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site, trio.open_nursery() as nursery:
        await put(site)

        async def fail() -> None:
            while len(world.spawner.children) < 3:  # noqa: ASYNC110  # The clock is virtual.
                await trio.sleep(0.1)
            world.spawner.children[2].write(b"no flask\n")
            await settle()
            world.spawner.children[2].exit(1)

        nursery.start_soon(fail)
        answer = await put(site, processes={"web": {"ready": {"after": 5}}})
        assert answer.status_code == 409
        problem = answer.json()
        assert problem["detail"].startswith(
            "release 2 of the app 'shop': rolled back: shop.web.0: the child ended with exit code 1"
        )
        assert (problem["release"], problem["step"]) == (2, "shop.web.0: waiting")
        assert problem["lines"] == ["no flask"]
        releases = (await site.client.get("/apps/shop/releases")).json()["releases"]
        assert [(one["release"], one["outcome"]) for one in releases] == [
            (2, "failed"),
            (1, "done"),
        ]
        answer = await site.client.post("/apps/shop/rollback", json={"to": 2})
        assert answer.status_code == 409
        assert "was never done: it is failed" in answer.json()["detail"]


async def test_who_waits_hears_of_what_came_after(autojump_clock: Clock) -> None:
    async with open_site() as site, trio.open_nursery() as nursery:
        await put(site)
        answers = []

        async def first() -> None:
            answers.append(await put(site, processes={"web": {"ready": {"after": 5}}}))

        nursery.start_soon(first)
        await settle()
        await put(site)
        assert answers[0].status_code == 409
        assert "something else was wanted" in answers[0].json()["detail"]


async def test_two_who_change_it_at_once(autojump_clock: Clock) -> None:
    async with open_site() as site:
        answer = await put(site)
        seen = answer.headers["etag"]
        headers = {"If-Match": seen}
        patch = {"processes": {"web": {"count": 1}}}
        answer = await site.client.patch("/apps/shop?wait=1", json=patch, headers=headers)
        assert answer.status_code == 200
        for method, path in (
            ("PATCH", "/apps/shop"),
            ("POST", "/apps/shop/rollback"),
            ("DELETE", "/apps/shop"),
        ):
            body = patch if method == "PATCH" else {}
            answer = await site.client.request(method, path, json=body, headers=headers)
            assert answer.status_code == 412
        answer = await site.client.put("/apps/other", json=PUT, headers={"If-Match": "*"})
        assert answer.status_code == 412
        assert len(site.apps) == 1
        both = {"If-Match": f'"x", {(await site.client.get("/apps/shop")).headers["etag"]}'}
        answer = await site.client.request("DELETE", "/apps/shop", headers=both)
        assert (answer.status_code, answer.json()) == (200, {})
        assert (await site.client.get("/apps/shop")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        ("/apps/a%20b", PUT, ["expected 1 to 64 characters of A-Z a-z 0-9 . _ - @ path"]),
        ("/apps/shop", {}, ["required field missing @ $.source_url"]),
        (
            "/apps/shop",
            {**PUT, "env": None, "processes": None},
            [
                "expected an object @ $.processes",
                "expected an object @ $.env",
            ],
        ),
        (
            "/apps/shop",
            {**PUT, "processes": {"web": {"count": -1, "x": 1}}, "parallel": 0},
            [
                "expected 1 to 4194304, found 0 @ $.parallel",
                "expected 0 to 1000, found -1 @ $.processes['web'].count",
                "unknown field @ $.processes.web.x",
            ],
        ),
        (
            "/apps/shop",
            {**PUT, "processes": {"release": {}}},
            [
                "expected 1 to 32 characters of A-Z a-z 0-9 _ -, and not 'release' @ $.processes['release']",  # noqa: E501  # whole
            ],
        ),
        (
            "/apps/shop",
            {**PUT, "processes": {"web": {"count": 600}, "worker": {"count": 401}}},
            ["expected at most 1000 processes in all, found 1001 @ $.processes"],
        ),
    ],
)
async def test_a_bad_request_is_told_field_by_field(
    path: str, body: Any, errors: list[str], autojump_clock: Clock
) -> None:
    async with open_site() as site:
        answer = await site.client.put(path, json=body)
        assert (answer.status_code, answer.json()["errors"]) == (400, errors)


async def test_what_this_machine_cannot_limit_is_refused(autojump_clock: Clock) -> None:
    async with open_site(World(spawner=FakeSpawner(unlimited={"tasks"}))) as site:
        answer = await put(site, processes={"web": {"limits": {"tasks": 3}}})
        assert answer.status_code == 400


async def test_a_slug_of_another_process_is_refused(autojump_clock: Clock) -> None:
    async with open_site() as site:
        site.supervisor.create(make_spec("shop", "web.1"))
        answer = await put(site)
        assert answer.status_code == 409
        assert "'shop.web.1'" in answer.json()["detail"]


async def test_events_tell_of_apps(autojump_clock: Clock) -> None:
    async with open_site(World(workspaces=FakeWorkspaces())) as site:
        await put(site)
        await site.client.request("DELETE", "/apps/shop")
        await settle()
        answer = await site.client.get("/events?follow=0&after=1767225599999")
        text = answer.text
        kinds = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
        assert kinds[0] == "app"
        assert {"app", "release", "rollout", "state"} == set(kinds)
        assert '"app": "shop", "change": "created"' in text
        assert '"release": 1, "outcome": "done"' in text
        assert text.rstrip().endswith('"app": "shop", "change": "deleted"}')
        answer = await site.client.get("/events?follow=0&after=1767225599999&app=other")
        assert "event:" not in answer.text


async def test_a_release_command_is_none_of_the_slots(autojump_clock: Clock) -> None:
    async with open_site() as site:
        await put(site)
        site.supervisor.create(make_spec("shop", "release.1", owner="shop", release=1))
        app = (await site.client.get("/apps/shop")).json()
        assert list(app["processes"]) == ["web"]
        assert app["processes"]["web"]["count"] == 2


def test_requests_to_apps_are_told_apart() -> None:
    traffic = Traffic()
    traffic.add_routes(route.path for route in ROUTES)
    for path in ("/apps/shop/releases", "/apps/shop", "/apps/shop/x", "/apps//releases"):
        traffic.begin("GET", path)
    assert traffic.open == {"/apps/<slug>/releases": 1, "/apps/<slug>": 1, "other": 2}


async def test_metrics_tell_of_apps(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        await put(site)
        world.workspaces.errors.append(UnpackError("damaged"))
        await put(site)
        context = make_context(site.supervisor, site.apps, AgentConfig())
        rows = {
            family.metric.name: [*family.rows]
            for family in read_families(context.metrics._sources())
            if "app_" in family.metric.name or "rollouts" in family.metric.name
        }
    labels = {"app": "shop", "process_type": "web"}
    assert rows == {
        "smartmob_app_slots_wanted": [(labels, 2)],
        "smartmob_app_slots_ready": [(labels, 2)],
        "smartmob_app_release": [({"app": "shop"}, 1)],
        "smartmob_rollouts_in_progress": [({}, 0)],
        "smartmob_rollouts_total": [({"outcome": "done"}, 1), ({"outcome": "failed"}, 1)],
    }


async def test_who_waits_hears_of_the_end_of_the_agent(autojump_clock: Clock) -> None:
    async with open_site() as site:
        answers = []

        async def deploy() -> None:
            answers.append(await put(site, processes={"web": {"ready": {"after": 30}}}))

        # The block is a part of what `close` cancels.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(deploy)
                await trio.sleep(1)
                site.apps.close()
                site.supervisor.close()
    assert answers[0].status_code == 503

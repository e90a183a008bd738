"""The description of the API: it is valid, whole, and as the agent does.

Beside this, `tests.api.asgi` holds each answer that any test gets against it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import openapi_spec_validator
import pytest
import trio.testing

from smartmob_agent.api.app import ROUTES
from smartmob_agent.api.openapi import PATH, describe, problems_of
from smartmob_agent.api.problem_catalogue import ANYWHERE
from smartmob_agent.api.route import Route
from smartmob_agent.config.settings import AgentConfig, Security
from smartmob_agent.errors import RequestError
from smartmob_agent.http.middleware.stack import open_middleware
from smartmob_agent.http.middleware.traffic import Traffic
from smartmob_agent.output.batch import Origin, Stream
from smartmob_agent.process.states import State
from tests.api.asgi import attached, config, open_site
from tests.api.asking import Recorder, ask
from tests.api.description import DESCRIPTION, OPERATIONS, Description
from tests.process.world import World

Clock = trio.testing.MockClock
TYPE = "application/vnd.oai.openapi+json"
SCHEMAS = DESCRIPTION.document["components"]["schemas"]
EXAMPLES = {name: schema["examples"][0] for name, schema in SCHEMAS.items() if "examples" in schema}
PROBLEMS = problems_of(ROUTES)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Go through method, path and what is said of them."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method.upper(), path, operation


async def fetch(world: World | None = None) -> Any:
    async with open_site(world) as site:
        return (await site.client.get(PATH)).json()


@pytest.mark.parametrize(
    "security",
    [Security(), Security(token_file=Path("t"), tls_cert=Path("c"), tls_client_ca=Path("a"))],
)
async def test_it_is_valid(security: Security) -> None:
    """Version 3.1, by the validator of its makers."""
    document = await fetch(World(config=AgentConfig(security=security)))
    openapi_spec_validator.OpenAPIV31SpecValidator(document).validate()
    assert (document["openapi"], document["info"]["version"]) == (
        "3.1.1",
        version("smartmob-agent"),
    )


async def test_each_operation_is_served_and_each_route_described() -> None:
    document = await fetch()
    described = {
        (method, path.replace("{slug}", "<slug>").replace("{app}", "<slug>"))
        for method, path, _ in operations(document)
    }
    assert described == set(OPERATIONS)


def test_a_route_that_is_not_described_does_not_get_far() -> None:
    with pytest.raises(TypeError, match="summary"):
        Route(method="GET", path="/new", handle=ROUTES[0].handle)  # type: ignore[call-arg]  # that is it


def test_each_operation_says_what_it_is() -> None:
    ids = [operation["operationId"] for _, _, operation in operations(DESCRIPTION.document)]
    assert len(set(ids)) == len(ids)
    for method, path, operation in operations(DESCRIPTION.document):
        assert operation["summary"], (method, path)
        assert {"400", "403", "500"} < set(operation["responses"]), (method, path)


def test_the_table_of_the_page_has_each_operation_and_its_statuses() -> None:
    """Those that any operation may have stand below it, unless a route has them of its own."""
    page = (Path(__file__).parents[2] / "docs/http.rst").read_text(encoding="utf-8")
    rows = re.findall(r"\* - :(?:ref|doc):`(\w+) (\S+) <.*\n     - (.*)", page)
    table = {
        (method, path.replace("SLUG", "<slug>").replace("APP", "<slug>")): set(
            statuses.replace("WebSocket", "101").split(", ")
        )
        for method, path, statuses in rows
    }
    assert set(table) == set(OPERATIONS)
    anywhere = {str(known.status) for known in ANYWHERE}
    for key, operation in OPERATIONS.items():
        own = {*operation.replies, *(known.status for known in operation.problems)}
        assert table[key] - anywhere == {str(status) for status in own}, key


def test_each_error_of_a_client_is_a_problem_that_is_described() -> None:
    statuses = {error.status for error in RequestError.__subclasses__()}
    assert statuses <= {known.status for known in PROBLEMS.values()}


async def test_who_begins_at_the_index_finds_it() -> None:
    """RFC 8631."""
    async with open_site() as site:
        links = (await site.client.get("/")).headers["link"].split(", ")
        [url] = [link.partition(">")[0].strip("<") for link in links if "service-desc" in link]
        answer = await site.client.get(url)
    assert f'type="{TYPE}"' in links[0]
    assert (answer.status_code, answer.headers["content-type"]) == (200, TYPE)


@pytest.mark.parametrize(
    ("public_url", "base"),
    [(None, "http://agent"), ("https://example.net/a", "https://example.net/a")],
)
async def test_it_says_where_the_agent_is(public_url: str | None, base: str) -> None:
    document = await fetch(World(config=config(public_url=public_url)))
    assert document["servers"] == [{"url": base}]


@pytest.mark.parametrize(
    ("known", "status"), [("{}", 304), ('"x", W/{}', 304), ("*", 304), ('"x"', 200), ("", 200)]
)
async def test_who_knows_it_already_does_not_get_it_again(known: str, status: int) -> None:
    async with open_site() as site:
        tag = (await site.client.get(PATH)).headers["etag"]
        again = await site.client.get(PATH, headers={"If-None-Match": known.format(tag)})
    assert (again.status_code, bool(again.content)) == (status, status == 200)
    assert again.headers["etag"] == tag


async def test_another_place_has_another_tag() -> None:
    async with open_site() as site:
        tags = {
            (await site.client.get(PATH, headers={"Host": host})).headers["etag"]
            for host in ("one", "two", "one")
        }
    assert len(tags) == 2


def test_tokens_are_asked_for_where_it_says_so() -> None:
    secured = describe(ROUTES, AgentConfig(security=Security(token_file=Path("tokens"))))
    assert secured["security"] == [{"bearer": []}]
    assert DESCRIPTION.document["security"] == []
    for _, path, operation in operations(secured):
        is_open = path in ("/health", "/ready")
        assert operation.get("security") == ([] if is_open else None)
        assert ("401" in operation["responses"]) == (not is_open)


async def test_each_operation_but_the_open_ones_asks_for_a_token(tmp_path: Path) -> None:
    """What the description says is what the gate does."""
    tokens = tmp_path / "tokens"
    tokens.write_text("correct-horse-battery")
    tokens.chmod(0o600)
    secured = AgentConfig(security=Security(token_file=tokens))
    open_paths = {route.path for route in ROUTES if route.open}
    app = open_middleware(secured).wrap(Recorder(), Traffic(), open_paths=open_paths)
    for method, path, operation in operations(describe(ROUTES, secured)):
        answer = await ask(app, path=path, method=method, headers={"host": "localhost"})
        assert (answer.status == 401) == ("401" in operation["responses"]), path


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_is_as_its_schema_says(name: str) -> None:
    DESCRIPTION.validate(SCHEMAS[name], EXAMPLES[name])


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_the_example_of_a_problem_is_one(name: str) -> None:
    DESCRIPTION.validate(SCHEMAS["Problem"], PROBLEMS[name].example)


async def test_the_examples_are_what_the_agent_says(autojump_clock: Clock) -> None:
    """All of them: none is invented."""
    async with open_site() as site:
        client = site.client
        client.base_url = httpx.URL("http://127.0.0.1:8080")
        live = {
            "Index": (await client.get("/")).json(),
            "Upload": (await client.put("/upload-source", content=b"")).json(),
            # What a client says; the agent takes the two that are whole requests, below.
            **{name: said for name, said in EXAMPLES.items() if name.endswith("Request")},
        }
        await client.post("/create-process", json=EXAMPLES["CreateRequest"])
        process = site.supervisor.get("hello.web.0")
        assert await process.wait_ready()
        process.console.publish(Stream.STDOUT, b"tick 1\n", Origin(pid=1000))
        live["ProcessStatus"] = (await client.get("/process-status/hello.web.0")).json()
        live["ProcessList"] = (await client.get("/list-processes")).json()
        live["Log"] = (await client.get("/process-log/hello.web.0?format=json")).json()
        answer = await client.post("/signal-process/hello.web.0", json=EXAMPLES["SignalRequest"])
        assert answer.status_code == 200
        live["App"] = (await client.put("/apps/shop", json=EXAMPLES["PutAppRequest"])).json()
    assert live == EXAMPLES


async def test_the_messages_of_an_attach_are_records(autojump_clock: Clock) -> None:
    async with open_site() as site:
        await site.create()
        async with attached(site, query="format=json") as client:
            process = site.supervisor.get("app.web.0")
            await process.wait_state(State.RUNNING)
            process.console.publish(Stream.STDOUT, b"tick 1\n")
            await site.supervisor.delete("app.web.0")
        records = [json.loads(text) for text in client.texts]
    for record in records:
        DESCRIPTION.validate(SCHEMAS["LogRecord"], record)
    assert [record.get("event", "line") for record in records] == [
        "started",
        "line",
        "exited",
        "end",
    ]


def answer_of(document: Any, status: int = 200) -> tuple[dict[str, Any], bytes]:
    headers = [(b"content-type", b"application/json"), (b"x-request-id", b"1")]
    return {"status": status, "headers": headers}, json.dumps(document).encode()


STATUS = EXAMPLES["ProcessStatus"]


@pytest.mark.parametrize(
    "document",
    [
        {**STATUS, "colour": "red"},
        {name: value for name, value in STATUS.items() if name != "pid"},
        {**STATUS, "pid": "1"},
        {**STATUS, "state": "gone"},
        {**STATUS, "created_at": "yesterday"},
        {**STATUS, "exit": {"code": 1, "signal": "SIGKILL"}},
    ],
    ids=["more", "less", "other type", "other word", "other format", "other variant"],
)
def test_a_field_that_is_not_as_described_is_found(document: Any) -> None:
    request = httpx.Request("GET", "http://agent/process-status/hello.web.0")
    DESCRIPTION.check(request, *answer_of(STATUS))
    with pytest.raises(jsonschema_rs.ValidationError):
        DESCRIPTION.check(request, *answer_of(document))


@pytest.mark.parametrize(
    ("path", "status", "headers"),
    [("/new", 200, 2), ("/", 418, 2), ("/list-processes", 405, 2), ("/list-processes", 200, 1)],
)
def test_an_answer_that_is_not_described_is_found(path: str, status: int, headers: int) -> None:
    start, body = answer_of({"processes": []}, status)
    with pytest.raises(AssertionError, match=path):
        DESCRIPTION.check(
            httpx.Request("GET", f"http://agent{path}"),
            {**start, "headers": start["headers"][:headers]},
            body,
        )


def test_a_media_type_that_is_not_described_is_found() -> None:
    document = copy.deepcopy(DESCRIPTION.document)
    content = document["paths"]["/health"]["get"]["responses"]["200"]["content"]
    content["text/html"] = content.pop("application/json")
    start, body = answer_of({"status": "alive"})
    start["headers"].append((b"cache-control", b"no-store"))
    request = httpx.Request("GET", "http://agent/health")
    DESCRIPTION.check(request, start, body)
    with pytest.raises(AssertionError, match="application/json is not described"):
        Description(document).check(request, start, body)

"""The create request: strict, and every error with its path."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from smartmob_agent.api.documents import (
    parse_create_request,
    parse_empty_request,
)
from smartmob_agent.child.seam import ResourceLimits
from smartmob_agent.errors import BadRequestError
from smartmob_agent.process.policies import Readiness, StopPolicy
from tests.api.asgi import CREATE, make_links


def errors_of(changes: dict[str, Any]) -> list[str]:
    with pytest.raises(BadRequestError) as caught:
        parse_create_request(json.dumps({**CREATE, **changes}).encode(), request_id="r")
    return list(caught.value.errors)


def detail_of(body: bytes) -> str:
    with pytest.raises(BadRequestError) as caught:
        parse_create_request(body, request_id="r")
    return str(caught.value)


def test_a_good_request_becomes_a_spec() -> None:
    body = json.dumps({**CREATE, "env": {"A": "1", "_b2": ""}}).encode()
    spec = parse_create_request(body, request_id="r")
    assert (spec.slug, spec.process_type, spec.source_url, dict(spec.env), spec.request_id) == (
        "app.web.0",
        "web",
        "http://127.0.0.1:1/app.zip",
        {"A": "1", "_b2": ""},
        "r",
    )


def test_a_digest_is_optional() -> None:
    """It may be in capitals."""
    digest = "0123456789ABCDEF" * 4
    for changes, expected in (({}, None), ({"source_sha256": digest}, digest.lower())):
        spec = parse_create_request(json.dumps({**CREATE, **changes}).encode(), request_id="r")
        assert spec.source_sha256 == expected


@pytest.mark.parametrize("digest", ["", "a" * 63, "a" * 65, "g" * 64, "é" * 64, "a" * 64 + "\n"])
def test_a_digest_has_64_digits(digest: str) -> None:
    expected = "expected 64 hexadecimal digits @ $.source_sha256"
    assert errors_of({"source_sha256": digest}) == [expected]


def test_a_digest_is_a_string() -> None:
    for value, found in ((None, "null"), (1, "a number")):
        expected = f"expected a string, found {found} @ $.source_sha256"
        assert errors_of({"source_sha256": value}) == [expected]


def test_a_source_may_be_an_upload() -> None:
    url = f"smartmob:sha256:{'a' * 64}"
    body = json.dumps({**CREATE, "source_url": url}).encode()
    assert parse_create_request(body, request_id="r").source_url == url


@pytest.mark.parametrize("url", ["smartmob:", "smartmob:sha256:", f"smartmob:sha256:{'a' * 63}"])
def test_an_upload_is_named_by_its_digest(url: str) -> None:
    expected = "expected smartmob:sha256: and 64 hexadecimal digits @ $.source_url"
    assert errors_of({"source_url": url}) == [expected]


@pytest.mark.parametrize("field", ["app", "node", "process_type", "source_url"])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ([], "an array"),
        ({}, "an object"),
    ],
)
def test_nothing_is_made_a_string(field: str, value: object, found: str) -> None:
    assert errors_of({field: value}) == [f"expected a string, found {found} @ $.{field}"]


@pytest.mark.parametrize("field", ["app", "node", "process_type", "source_url"])
def test_each_field_needs_something(field: str) -> None:
    assert errors_of({field: ""}) == [f"expected a string that is not empty @ $.{field}"]


@pytest.mark.parametrize("name", ["a/b", "a b", "é", "x" * 65, "a\n", "..\\", "a%2f"])
@pytest.mark.parametrize("field", ["app", "node"])
def test_names_are_short_and_plain(field: str, name: str) -> None:
    assert errors_of({field: name}) == [
        f"expected 1 to 64 characters of A-Z a-z 0-9 . _ - @ $.{field}"
    ]


@pytest.mark.parametrize(
    "url",
    ["/app.zip", "file:///etc/passwd", "http://", "http://h:0x/", "http://h:99999/", "http:///a"],
)
def test_a_source_is_a_web_address(url: str) -> None:
    [error] = errors_of({"source_url": url})
    assert error.endswith(" @ $.source_url")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_create_request(b"{}", request_id="r")
    assert caught.value.errors == tuple(
        f"required field missing{field}"
        for field in (
            " @ $.app",
            " @ $.node",
            " @ $.source_url",
            ": one of process_type, command @ $",
        )
    )


def test_an_unknown_field_is_named_on_one_line() -> None:
    assert errors_of({"colour": 1, "a\nb": 2}) == [
        "unknown field @ $.colour",
        "unknown field @ $['a\\nb']",
    ]


def test_the_environment_is_an_object_of_strings() -> None:
    assert errors_of({"env": []}) == ["expected an object @ $.env"]
    assert errors_of({"env": None}) == ["expected an object @ $.env"]
    assert errors_of({"env": {"A": 1, "B": "b\0"}}) == [
        "expected a string, found a number @ $.env['A']",
        "expected a value without NUL @ $.env['B']",
    ]


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A=B", "É", "A B"])
def test_a_variable_has_a_posix_name(name: str) -> None:
    assert errors_of({"env": {name: "x"}}) == [
        f"expected the name of a variable: letters, digits, _, no digit first @ $.env[{name!r}]"
    ]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "expected JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[]", "expected an object, found an array"),
        (b"null", "expected an object, found null"),
        (b'"x"', "expected an object, found a string"),
        (b"{", "expected JSON: Expecting property name"),
        (b'{"a": NaN}', "expected JSON: NaN is not a JSON value"),
        (b'{"a": 1, "a": 2}', "expected JSON: the name 'a' stands twice in one object"),
        (b'{"a": "\xff"}', "expected UTF-8, found an invalid byte at position 7"),
        (b"[" * 100_000, "expected JSON, found arrays or objects nested too deep"),
        (b'{"a": ' + b"1" * 5000 + b"}", "expected JSON: "),
        ("\ufeff{}".encode(), "expected JSON: "),
    ],
)
def test_what_is_no_json_object_is_told(body: bytes, detail: str) -> None:
    assert detail_of(body).startswith(detail)


def test_a_build_is_made_or_not() -> None:
    assert errors_of({"build": "maybe"}) == ["expected one of auto, never, found 'maybe' @ $.build"]
    assert errors_of({"build": True}) == ["expected a string, found a boolean @ $.build"]


def test_a_lone_surrogate_is_no_text() -> None:
    assert errors_of({"process_type": "\ud800"}) == [
        "expected Unicode text, found a lone surrogate @ $.process_type"
    ]


@given(st.binary())
def test_no_body_is_more_than_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse_create_request(body, request_id="r")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*CREATE, "env", "x"]), JSON))
def test_no_json_is_more_than_a_bad_request(data: dict[str, Any]) -> None:
    errors: tuple[str, ...] = ()
    try:
        parse_create_request(json.dumps(data).encode(), request_id="r")
    except BadRequestError as exc:
        errors = exc.errors
    assert all("\n" not in error for error in errors)


def test_an_empty_request_says_nothing() -> None:
    for body in (b"", b" ", b"{}", b" {} "):
        parse_empty_request(body)
    with pytest.raises(BadRequestError):
        parse_empty_request(b"[]")


def test_links_to_an_https_agent_attach_by_wss() -> None:
    assert make_links("https://h").to("attachConsole", "s") == "wss://h/attach-console/s"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"root": "../x"}, "expected the path of a directory in the archive"),
        ({"root": "/x"}, "expected the path of a directory in the archive"),
        ({"restart": "x"}, "expected one of always, on-failure, never, found 'x' @ $.restart"),
        ({"port": 0}, "expected 'auto', 'none' or a number from 1 to 65535, found 0 @ $.port"),
        ({"port": 1.5}, "found 1.5 @ $.port"),
        ({"port": None}, "found null @ $.port"),
        ({"ready": "x"}, "expected an object, found a string @ $.ready"),
        ({"ready": {}}, "required field missing: one of port, http, log, notify, after @ $.ready"),
        ({"ready": {"port": True, "log": "x"}}, "alone @ $.ready.log"),
        (
            {"ready": {"port": False}},
            "expected true; leave it out for anything else @ $.ready.port",
        ),
        ({"ready": {"http": "x"}}, "expected a path, and perhaps a query, of visible ASCII"),
        ({"ready": {"log": "("}}, "expected a regular expression, found '(': missing )"),
        ({"ready": {"log": "x" * 1001}}, "of at most 1000 characters, found 1001 @ $.ready.log"),
        ({"ready": {"after": "1"}}, "expected a number of seconds, found a string @ $.ready.after"),
        ({"ready": {"after": -1}}, "expected 0 to 86400 seconds, found -1 @ $.ready.after"),
        ({"ready": {"after": 1, "x": 1}}, "unknown field @ $.ready.x"),
        ({"stop": {"signal": "X"}}, "expected the name of a signal"),
        ({"stop": {"to": "x"}}, "expected one of group, app, found 'x' @ $.stop.to"),
        ({"limits": {"memory_bytes": 0}}, "expected 1048576 to"),
        ({"limits": {"tasks": 0}}, "expected 1 to 4194304, found 0 @ $.limits.tasks"),
        ({"limits": {"open_files": True}}, "expected a whole number, found a boolean"),
        ({"limits": {"cpu_weight": 10_001}}, "expected 1 to 10000, found 10001"),
        ({"command": "ls"}, "expected one of process_type, command alone @ $.command"),
        ({"command": "a\0"}, "expected a command without NUL @ $.command"),
        ({"build": "x"}, "expected one of auto, never, found 'x' @ $.build"),
        ({"env": {"A": "x" * 131_070}}, "at most 131,072 bytes"),
    ],
)
def test_what_a_process_may_not_ask_for(changes: dict[str, object], error: str) -> None:
    assert any(error in found for found in errors_of(changes))


def test_what_a_process_may_ask_for() -> None:
    body = {
        **CREATE,
        "root": "backend/",
        "restart": "never",
        "port": 8000.0,
        "ready": {"http": "/health?deep", "timeout": 5},
        "stop": {"signal": "INT", "timeout": 3, "to": "app"},
        "limits": {"tasks": 5.0, "core_bytes": 0},
        "build": "never",
    }
    spec = parse_create_request(json.dumps(body).encode(), request_id="r")
    assert (spec.root, spec.restart, spec.port, spec.build) == ("backend", "never", 8000, "never")
    assert spec.ready == Readiness(http="/health?deep", timeout=5.0)
    assert spec.stop == StopPolicy(signal=signal.SIGINT, timeout=3.0, to="app")
    assert spec.limits == ResourceLimits(tasks=5, core_bytes=0)


def test_a_command_stands_in_for_a_type() -> None:
    body = {name: value for name, value in CREATE.items() if name != "process_type"}
    spec = parse_create_request(json.dumps({**body, "command": "ls"}).encode(), request_id="r")
    assert (spec.process_type, spec.command) == (None, "ls")

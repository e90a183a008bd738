"""What an app says of itself in app.json, and what becomes of what it does not say."""

from __future__ import annotations

import json

import pytest

from smartmob_agent.errors import InvalidAppJsonError
from smartmob_agent.source.app.app_json import (
    AppJson,
    Variable,
    parse_app_json,
    request_environment,
)

SECRET = b"s" * 32


def test_formation_and_env_are_read_and_all_else_is_passed_over() -> None:
    document = {
        "name": "An app",
        "addons": ["heroku-postgresql"],
        "formation": {"web": {"quantity": 2, "size": "basic"}, "worker": {}},
        "env": {
            "PLAIN": "value",
            "DEFAULT": {"value": "x", "description": "why"},
            "SECRET": {"generator": "secret"},
            "OPTIONAL": {"required": False},
            "REQUIRED": {"description": "what"},
        },
    }
    assert parse_app_json(json.dumps(document).encode()) == AppJson(
        formation={"web": 2, "worker": 1},
        env={
            "PLAIN": Variable(value="value"),
            "DEFAULT": Variable(value="x"),
            "SECRET": Variable(generated=True),
            "OPTIONAL": Variable(required=False),
            "REQUIRED": Variable(),
        },
    )
    assert parse_app_json(b"{}") == AppJson()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"{", "expected JSON in UTF-8"),
        (b"\xff", "expected JSON in UTF-8"),
        (b"[]", "expected an object"),
        (b"[" * 100_000, "nested too deep"),
        (b" " * 300_000, "expected at most 262144 bytes"),
        (b'{"env": []}', "env: expected an object"),
        (b'{"formation": {"web": 1}}', r"formation\.web: expected an object"),
        (b'{"formation": {"web": {"quantity": -1}}}', "expected a number from 0 to 1000"),
        (b'{"formation": {"web": {"quantity": true}}}', "expected a number from 0 to 1000"),
        (b'{"env": {"NOT-A-NAME": "x"}}', "expected the name of a variable, found 'NOT-A-NAME'"),
        (b'{"env": {"A": {"value": 1}}}', r"env\.A\.value: expected a string"),
        (b'{"env": {"A": "\\u0000"}}', r"env\.A\.value: expected a string without NUL"),
        (b'{"env": {"A": "\\ud800"}}', r"env\.A\.value: expected a string"),
        (b'{"env": {"A": {"required": "yes"}}}', r"env\.A\.required: expected true or false"),
    ],
)
def test_what_breaks_a_rule_is_named(data: bytes, error: str) -> None:
    with pytest.raises(InvalidAppJsonError, match=f"app.json: .*{error}"):
        parse_app_json(data)


def test_what_was_given_comes_before_what_an_app_says() -> None:
    app_json = AppJson(env={"A": Variable(value="default"), "B": Variable(value="default")})
    env = request_environment(app_json, {"A": "given", "C": "more"}, secret=SECRET, app="app")
    assert env == {"A": "given", "B": "default", "C": "more"}


def test_all_that_is_missing_is_named_at_once() -> None:
    app_json = AppJson(env={"B": Variable(), "A": Variable(), "C": Variable(required=False)})
    with pytest.raises(InvalidAppJsonError, match="request's env for A, B, found none"):
        request_environment(app_json, {}, secret=SECRET, app="app")


def test_a_generated_value_is_that_of_its_app() -> None:
    app_json = AppJson(env={"KEY": Variable(generated=True)})
    values = [
        request_environment(app_json, {}, secret=secret, app=app)["KEY"]
        for secret, app in ((SECRET, "a"), (SECRET, "a"), (SECRET, "b"), (b"t" * 32, "a"))
    ]
    assert values[0] == values[1]
    assert len(set(values)) == 3
    assert all(len(value) == 64 for value in values)

"""Holds what the agent answers against the description of its API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import attrs
import httpx
import jsonschema_rs

from smartmob_agent.api.app import ROUTES
from smartmob_agent.api.openapi import describe
from smartmob_agent.config.settings import AgentConfig

__all__ = ["DESCRIPTION", "OPERATIONS", "Description"]


def close(schema: Any) -> Any:
    """Let objects have no property but those that are described."""
    if isinstance(schema, list):
        return [close(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(value) for key, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


@attrs.define(eq=False)
class Description:
    """An OpenAPI document, and what it says of requests and answers."""

    document: dict[str, Any]
    _validators: dict[str, jsonschema_rs.Validator] = attrs.field(factory=dict)

    def check(self, request: httpx.Request, start: Mapping[str, Any], body: bytes) -> None:
        """Raise `AssertionError` for an answer that is not described.

        start: status and headers of the answer, as ASGI has them.
        """
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        what = f"{request.method} {request.url.path}: {start['status']}"
        item = self._item(request.url.path)
        if item is None:
            assert start["status"] == 404, f"{what} at a path that is not described"
            return
        method = "get" if request.method == "HEAD" else request.method.lower()
        if method not in item:
            expected = 200 if method == "options" else 405
            assert (start["status"], "allow" in headers) == (expected, True), what
            return
        responses = item[method]["responses"]
        assert str(start["status"]) in responses, f"{what} is not described"
        response = self._resolve(responses[str(start["status"])])
        missing = [name for name in response["headers"] if name.lower() not in headers]
        assert not missing, f"{what} lacks {missing}"
        if request.method != "HEAD" and "content" in response:
            media_type = headers["content-type"].partition(";")[0]
            assert media_type in response["content"], f"{what}: {media_type} is not described"
            self._check_body(response["content"][media_type]["schema"], media_type, body)

    def validate(self, schema: Mapping[str, Any], document: object) -> None:
        """Raise `jsonschema_rs.ValidationError` unless `document` is as `schema` says."""
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {**close(schema), "components": self._closed}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        self._validators[key].validate(document)

    @cached_property
    def _closed(self) -> Any:
        return close(self.document["components"])

    def _item(self, path: str) -> Any:
        paths = self.document["paths"]
        if path in paths:
            return paths[path]
        if path.startswith("/apps/"):
            _, _, name, *rest = path.split("/")
            return paths.get("/".join(["/apps/{app}", *rest])) if name else None
        start, _, slug = path.rpartition("/")
        return paths.get(f"{start}/{{slug}}") if slug else None

    def _resolve(self, response: Mapping[str, Any]) -> Mapping[str, Any]:
        name = response.get("$ref", "").rpartition("/")[2]
        return self.document["components"]["responses"][name] if name else response

    def _check_body(self, schema: Mapping[str, Any], media_type: str, body: bytes) -> None:
        if media_type.endswith("json") and media_type != "application/x-ndjson":
            self.validate(schema, json.loads(body))
        elif media_type == "application/x-ndjson":
            for line in body.splitlines():
                self.validate({"$ref": "#/components/schemas/LogRecord"}, json.loads(line))
        elif media_type == "text/event-stream":
            for event in _events(body.decode()):
                self.validate(schema, event)
                name = {
                    "snapshot": "Snapshot",
                    "state": "StateEvent",
                    "app": "AppEvent",
                    "release": "ReleaseEvent",
                    "rollout": "RolloutEvent",
                    "gap": "Gap",
                    "end": "End",
                }
                content = {"$ref": f"#/components/schemas/{name[event['event']]}"}
                self.validate(content, json.loads(event["data"]))
        else:
            self.validate(schema, body.decode())


def _events(text: str) -> Iterator[dict[str, str]]:
    """Server-sent events, but for signs of life."""
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if "data" in fields:
            yield fields


OPERATIONS = {(route.method, route.path): route for route in ROUTES}
DESCRIPTION = Description(describe(ROUTES, AgentConfig()))
"""Of all operations, for agents that ask for no token."""

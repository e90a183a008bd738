"""Documents as the agent with one process of the walk-through has them.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartmob_agent.api.links import Links

__all__ = ["EXAMPLES", "EXAMPLE_SLUG"]

EXAMPLE_SLUG = "hello.web.0"
_LINKS = Links("http://127.0.0.1:8080")
_DIGEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_NAMES = {"app": "hello", "node": "web.0", "process_type": "web"}
_STATUS = {
    **_NAMES,
    "slug": EXAMPLE_SLUG,
    "state": "running",
    "attach": _LINKS.attach(EXAMPLE_SLUG),
    "details": _LINKS.details(EXAMPLE_SLUG),
    "status": _LINKS.details(EXAMPLE_SLUG),
    "delete": _LINKS.delete(EXAMPLE_SLUG),
    "pid": 1000,
    "restarts": 0,
    "created_at": "2026-01-01T00:00:00.000Z",
    "started_at": "2026-01-01T00:00:00.000Z",
    "exit": None,
    "error": None,
    "next_start_at": None,
    "containment": "tree",
    "source_sha256": _DIGEST,
    "download": None,
}

EXAMPLES: Mapping[str, Any] = {
    "Index": {"create": _LINKS.create, "list": _LINKS.list},
    "CreateRequest": {**_NAMES, "source_url": "http://127.0.0.1:8000/hello-python.tar.gz"},
    "SignalRequest": {"signal": "HUP"},
    "ProcessStatus": _STATUS,
    "ProcessList": {"processes": [_STATUS]},
    "Upload": {
        "source_url": f"smartmob:sha256:{_DIGEST}",
        "sha256": _DIGEST,
        "size": 0,
    },
    "Log": {
        "records": [
            {"event": "started", "time": "2026-01-01T00:00:00.000Z", "pid": 1000},
            {"seq": 1, "time": "2026-01-01T00:00:00.000Z", "stream": "stdout", "line": "tick 1"},
        ]
    },
}
"""Name of a schema → a document of its kind."""

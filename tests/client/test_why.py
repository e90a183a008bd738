"""Why a process runs or does not: for each state, and each thing that is known."""

from __future__ import annotations

from typing import Any

import pytest

from smartmob_agent.client.documents import STATES
from smartmob_agent.client.why import is_well, why
from smartmob_agent.process.states import State

TIME = "2026-01-01T12:00:00.000Z"
STATUS: dict[str, Any] = {
    "slug": "app.web.0",
    "state": "running",
    "pid": 7,
    "port": 20000,
    "ready": True,
    "restarts": 0,
    "failures": 0,
    "started_at": TIME,
    "exit": None,
    "last_crash": None,
    "error": None,
    "next_start_at": None,
    "download": None,
    "build": None,
}
CRASH = {"exit": {"signal": "SIGSEGV"}, "at": TIME, "lines": ["one", "two"]}


def told(**changes: object) -> str:
    return why({**STATUS, **changes})


@pytest.mark.parametrize("state", [state.value for state in State])
def test_each_state_has_a_text_of_its_own(state: str) -> None:
    text = told(state=state, pid=None, error="so it is")
    assert text.startswith("app.web.0 ")
    assert "does not know" not in text
    others = {told(state=other, pid=None, error="so it is") for other in STATES if other != state}
    assert text not in others


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, f"app.web.0 runs since {TIME}, as pid 7, with port 20000. It is ready."),
        (
            {"ready": False, "started_at": None, "port": None},
            "app.web.0 runs, as pid 7. It is not ready yet.",
        ),
        (
            {"ready": False, "port": None, "error": "port 1 refuses connections"},
            f"app.web.0 runs since {TIME}, as pid 7. It is not ready: port 1 refuses connections.",
        ),
        (
            {"pid": None, "port": None},
            f"app.web.0 runs since {TIME}, as pid None. Its child has just ended.",
        ),
        ({"state": "pending"}, "app.web.0 has been created and has not begun yet."),
        (
            {"state": "downloading", "download": {"received": 5, "total": 10}},
            "app.web.0 does not run yet: its archive is being downloaded: 5 of 10 bytes are here.",
        ),
        (
            {"state": "downloading", "download": {"received": 5, "total": None}},
            "app.web.0 does not run yet: its archive is being downloaded: 5 bytes are here.",
        ),
        (
            {"state": "downloading"},
            "app.web.0 does not run yet: its archive is being downloaded.",
        ),
        (
            {"state": "building"},
            "app.web.0 does not run yet: what the app needs is being installed.",
        ),
        (
            {
                "state": "backoff",
                "next_start_at": TIME,
                "error": "over memory_bytes of its limits: raise limits.memory_bytes",
                "restarts": 3,
                "failures": 2,
                "exit": {"signal": "SIGKILL"},
            },
            (
                f"app.web.0 does not run: it waits for its next start, at {TIME}. The reason: over "
                "memory_bytes of its limits: raise limits.memory_bytes. It was started again 3 "
                "times. "
                "The last 2 starts came to nothing. Its last child ended with SIGKILL."
            ),
        ),
        (
            {"state": "backoff"},
            "app.web.0 does not run: it waits for its next start.",
        ),
        (
            {"state": "finished", "exit": {"code": 0}, "error": "it runs once."},
            (
                "app.web.0 has finished, and is not started again unless someone asks for it. "
                "The reason: it runs once. Its last child ended with exit code 0."
            ),
        ),
        (
            {"state": "finished", "restarts": 1},
            (
                "app.web.0 has finished, and is not started again unless someone asks for it. "
                "It was started again once."
            ),
        ),
        (
            {"state": "stopping", "error": "not even SIGKILL ends pid 7", "restarts": 2},
            (
                "app.web.0 is being stopped: it was deleted, or its agent ends. What is known: not "
                "even SIGKILL ends pid 7. It was started again twice."
            ),
        ),
        ({"state": "stopping"}, "app.web.0 is being stopped: it was deleted, or its agent ends."),
        (
            {"state": "build failure", "error": "pip: no such package"},
            (
                "app.web.0 does not run, and will not by itself: its build failed. The reason: "
                "pip: no "
                "such package. `smartmob restart` builds it again."
            ),
        ),
        (
            {"state": "no procfile"},
            (
                "app.web.0 does not run, and will not by itself: its archive has no Procfile. "
                "Delete "
                "it, mend that, and create it again."
            ),
        ),
        (
            {"state": "dancing", "error": "music"},
            (
                "app.web.0 is in the state dancing, which this client does not know. "
                "The reason: music."
            ),
        ),
        (
            {"state": "dancing"},
            "app.web.0 is in the state dancing, which this client does not know.",
        ),
        (
            {"port": None, "build": {"builder": "python", "cached": False, "seconds": 3.25}},
            (
                f"app.web.0 runs since {TIME}, as pid 7. It is ready. "
                "Its build, by python, took 3.25 s."
            ),
        ),
        (
            {"port": None, "build": {"builder": "node", "cached": True, "seconds": 0}},
            (
                f"app.web.0 runs since {TIME}, as pid 7. It is ready. Its build, by node, was "
                "taken "
                "from the cache."
            ),
        ),
        (
            {"port": None, "last_crash": {**CRASH, "lines": []}},
            (
                f"app.web.0 runs since {TIME}, as pid 7. It is ready. Its last child ended by "
                "itself, "
                f"at {TIME}, with SIGSEGV. It wrote nothing before that."
            ),
        ),
    ],
)
def test_facts_are_told(changes: dict[str, object], text: str) -> None:
    assert told(**changes) == f"{text}\n"


def test_the_last_lines_stand_below() -> None:
    crashed = told(state="backoff", last_crash=CRASH)
    assert crashed.endswith("Its last lines before that were:\n    one\n    two\n")
    assert why(STATUS, ["three"]).endswith(" Its last lines are:\n    three\n")


@pytest.mark.parametrize(
    ("changes", "well"),
    [
        ({}, True),
        ({"ready": False}, False),
        ({"last_crash": CRASH}, False),
        ({"state": "x"}, False),
    ],
)
def test_what_is_well_needs_no_lines(changes: dict[str, object], well: bool) -> None:
    assert is_well({**STATUS, **changes}) is well

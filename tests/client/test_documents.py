"""What an agent says, typed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from smartmob_agent.client.documents import (
    FAILURES,
    STATES,
    Exit,
    Upload,
    parse_json,
    parse_process,
    parse_processes,
    parse_upload,
)
from smartmob_agent.client.errors import BadAnswerError
from smartmob_agent.client.records import Event, Line, parse_record
from smartmob_agent.process.states import FAILURES as AGENT_FAILURES, State

STATUS: dict[str, Any] = {
    "app": "hello",
    "node": "web.0",
    "process_type": "web",
    "slug": "hello.web.0",
    "state": "backoff",
    "attach": "ws://127.0.0.1/attach-console/hello.web.0",
    "details": "http://127.0.0.1/process-status/hello.web.0",
    "status": "http://127.0.0.1/process-status/hello.web.0",
    "delete": "http://127.0.0.1/delete-process/hello.web.0",
    "pid": None,
    "restarts": 3,
    "created_at": "2026-01-01T00:00:00.000Z",
    "started_at": None,
    "exit": {"signal": "SIGKILL"},
    "error": "no luck",
    "next_start_at": "2026-01-01T00:00:01.500Z",
    "containment": "tree",
}
TIME = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_status_is_typed_and_kept_as_it_came() -> None:
    process = parse_process({**STATUS, "from the future": 1})
    assert (process.slug, process.pid, process.restarts) == ("hello.web.0", None, 3)
    assert (process.created_at, process.started_at) == (TIME, None)
    assert process.exit == Exit(signal="SIGKILL")
    assert process.document["from the future"] == 1


@pytest.mark.parametrize(
    ("given", "text"), [({"code": 1}, "exit code 1"), ({"signal": "SIGKILL"}, "SIGKILL")]
)
def test_an_exit_is_said_in_words(given: dict[str, Any], text: str) -> None:
    assert str(parse_process({**STATUS, "exit": given}).exit) == text


def test_states_that_last_are_failures() -> None:
    """The client knows them by itself: it shares no code with the agent."""
    assert {state.value for state in AGENT_FAILURES} == FAILURES
    assert {state.value for state in State} <= set(STATES)
    assert [s for s in State if parse_process({**STATUS, "state": s.value}).failed] == [
        state for state in State if state.value in FAILURES
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], r"expected an object, found \[\]"),
        ({**STATUS, "restarts": "3"}, r"expected int, found '3' @ \$.restarts"),
        ({**STATUS, "slug": 1}, r"expected a process: expected str, found 1 @ \$.slug"),
        ({**STATUS, "created_at": 1}, "expected a time, found 1"),
        ({**STATUS, "created_at": "then"}, "then"),
        ({k: v for k, v in STATUS.items() if k != "slug"}, r"required field missing @ \$.slug"),
    ],
)
def test_what_is_no_status_is_told(document: object, message: str) -> None:
    with pytest.raises(BadAnswerError, match=message):
        parse_process(document)


def test_a_list_of_processes_is_in_an_object() -> None:
    assert [p.slug for p in parse_processes({"processes": [STATUS]})] == ["hello.web.0"]
    documents: list[object] = [[], {}, {"processes": {}}]
    for document in documents:
        with pytest.raises(BadAnswerError, match="expected a list of processes"):
            parse_processes(document)


def test_an_upload_is_typed() -> None:
    document = {"source_url": "smartmob:sha256:00", "sha256": "00", "size": 5}
    assert parse_upload(document) == Upload(**document)  # type: ignore[arg-type]  # as it is


@pytest.mark.parametrize("body", [b"<html>", "{", b"[" * 100_000])
def test_what_is_no_json_is_told(body: bytes | str) -> None:
    with pytest.raises(BadAnswerError, match=r"expected JSON, found '.{1,70}'$"):
        parse_json(body)


def test_a_record_is_a_line_or_an_event() -> None:
    time = "2026-01-01T00:00:00.000Z"
    line = parse_record(f'{{"seq": 7, "time": "{time}", "stream": "stderr", "line": "a b"}}')
    assert line == Line(seq=7, time=TIME, stream="stderr", text="a b")
    assert str(line) == "a b"
    event = parse_record(f'{{"event": "exited", "time": "{time}", "pid": 5, "code": 1}}')
    assert event == Event(name="exited", time=TIME, fields={"pid": 5, "code": 1})
    assert str(event) == "exited pid=5 code=1"
    assert parse_record('{"event": "end"}') == Event(name="end", time=None, fields={})


@pytest.mark.parametrize("text", ["5", "[]", "{}", '{"seq": 1}', '{"event": 1, "time": 5}'])
def test_what_is_no_record_is_told(text: str) -> None:
    with pytest.raises(BadAnswerError, match="expected a record of a console"):
        parse_record(text)

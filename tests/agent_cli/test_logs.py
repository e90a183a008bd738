"""Logs: one event a line, for people or programs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from smartmob_agent.agent_cli.logs import configure_logging

logger = logging.getLogger("smartmob_agent.test")


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Undo what a program may do once, and a test must not leave behind."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_kv_begins_with_the_event_and_where_it_happened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("kv", "info")
    logger.info("state", extra={"pid": 7, "slug": "app.web.0", "nothing": None})
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("event=state slug=app.web.0 ")
    assert "pid=7" in line
    assert "nothing" not in line


def test_bind_is_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("kv", "info")
    logger.info("bind", extra={"url": "http://127.0.0.1:8080"})
    assert capsys.readouterr().err.startswith("event=bind url=http://127.0.0.1:8080 ")


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")
    logger.warning("two\nlines", extra={"slug": "app.web.0"})
    [line] = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["slug"], event["level"]) == (
        "two\nlines",
        "app.web.0",
        "warning",
    )
    assert event["time"].endswith("Z")


@pytest.mark.parametrize("log_format", ["kv", "json"])
def test_an_event_with_a_traceback_is_one_line_too(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(log_format, "info")
    error = ZeroDivisionError("oops")
    logger.error("failed", exc_info=error, extra={"text": 'a "quoted"\nvalue'})
    [line] = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: oops" in line


def test_what_is_below_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("kv", "warning")
    logger.info("quiet")
    logger.warning("loud")
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["event=loud"]


def test_http_clients_do_not_log_urls(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("kv", "debug")
    logging.getLogger("httpx").info("HTTP Request: GET http://u:secret@host/")
    assert capsys.readouterr().err == ""

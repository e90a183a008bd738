"""Logs: one event a line, for people or programs."""

from __future__ import annotations

import json
import logging
import os

import pytest

from smartmob_agent.agent_cli.logs import open_logging

logger = logging.getLogger("smartmob_agent.test")


def test_kv_begins_with_the_event_and_where_it_happened(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with open_logging("kv", "info"):
        logger.info("state", extra={"pid": 7, "slug": "app.web.0", "nothing": None})
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("event=state slug=app.web.0 ")
    assert "pid=7" in line
    assert "nothing" not in line


def test_bind_is_as_documented(capfd: pytest.CaptureFixture[str]) -> None:
    with open_logging("kv", "info"):
        logger.info("bind", extra={"url": "http://127.0.0.1:8080"})
    assert capfd.readouterr().err.startswith("event=bind url=http://127.0.0.1:8080 ")


def test_json_is_one_object_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    with open_logging("json", "info"):
        logger.warning("two\nlines", extra={"slug": "app.web.0"})
    [line] = capfd.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["slug"], event["level"]) == (
        "two\nlines",
        "app.web.0",
        "warning",
    )
    assert event["time"].endswith("Z")


@pytest.mark.parametrize("log_format", ["kv", "json"])
def test_an_event_with_a_traceback_is_one_line_too(
    log_format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_logging(log_format, "info"):
        error = ZeroDivisionError("oops")
        logger.error("failed", exc_info=error, extra={"text": 'a "quoted"\nvalue'})
    [line] = capfd.readouterr().err.splitlines()
    assert "ZeroDivisionError: oops" in line


def test_what_is_below_the_level_is_not_logged(capfd: pytest.CaptureFixture[str]) -> None:
    with open_logging("kv", "warning"):
        logger.info("quiet")
        logger.warning("loud")
    assert [line.split()[0] for line in capfd.readouterr().err.splitlines()] == ["event=loud"]


def test_http_clients_do_not_log_urls(capfd: pytest.CaptureFixture[str]) -> None:
    with open_logging("kv", "debug"):
        logging.getLogger("httpx").info("HTTP Request: GET http://u:secret@host/")
    assert capfd.readouterr().err == ""


def test_what_was_set_before_is_back_after_the_block() -> None:
    """A program, or a test, may have logs of its own."""
    root, quiet = logging.getLogger(), logging.getLogger("httpx")
    before = root.handlers[:], root.level, quiet.level
    with open_logging("kv", "debug"):
        assert root.handlers[:] != before[0]
    assert (root.handlers[:], root.level, quiet.level) == before


def test_lines_can_be_waited_for_inside_the_block(capfd: pytest.CaptureFixture[str]) -> None:
    """For who ends the program at once."""
    with open_logging("kv", "info") as flush:
        logger.info("last words")
        flush()
        assert capfd.readouterr().err.startswith('event="last words"')


def test_a_record_that_cannot_be_formatted_fails_nobody(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A library's own mistake; the line says whose, and the next record comes as always."""
    with open_logging("kv", "info"):
        logger.info("%d processes", "many")
        logger.info("state", extra={"not a key": 1})
        logger.info("next")
    *unreadable, last = capfd.readouterr().err.splitlines()
    assert [line.split(" logger=")[0] for line in unreadable] == [
        'event="log record not readable"'
    ] * 2
    assert all("logger=smartmob_agent.test " in line for line in unreadable)
    assert last.startswith("event=next ")


def test_lines_that_are_lost_are_told_as_an_event() -> None:
    """Nobody reads; then somebody does."""
    reader, writer = os.pipe()
    with open_logging("json", "info", fd=writer):
        lines = _log_until_some_are_lost(reader).splitlines()
        event = json.loads(next(line for line in lines if b"lines lost" in line))
        assert (event["event"], event["level"]) == ("log lines lost", "warning")
        assert event["lines"] > 0
    for fd in (reader, writer):
        os.close(fd)


def _log_until_some_are_lost(reader: int) -> bytes:
    """Log more than a pipe and the queue hold; return all that comes up to the last whole line."""
    for _ in range(40):
        logger.info("x" * 100 * 1024)
    data = b""
    while not data.endswith(b"\n") or b"lines lost" not in data:
        data += os.read(reader, 1024 * 1024)
    return data

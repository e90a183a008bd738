"""What a human can do about an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from smartmob_agent.client import (
    AddressError,
    BadAnswerError,
    ClientError,
    ConflictError,
    Event,
    LogPart,
    NoSuchProcessError,
    NotAllowedError,
    TlsError,
    UnreachableError,
)
from smartmob_agent.client_cli import failure
from smartmob_agent.client_cli.cli import EPILOG
from smartmob_agent.client_cli.commands.logs import copy_log, describe_event
from smartmob_agent.client_cli.failure import explain, suggest
from smartmob_agent.client_cli.output import format_cell, report, report_as
from smartmob_agent.client_cli.runner import detachable, run
from smartmob_agent.client_cli.terminal import ago
from tests.client.memory import MemoryAgent, client_of


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UnreachableError("nobody"), 3, "nobody (is smartmob-agent running there? --agent or"),
        (TlsError("no TLS", fault="plain"), 3, "no TLS (then its URL has http in place of https)"),
        (TlsError("own", fault="certificate"), 3, "own (cert_file and key_file of a named agent"),
        (TlsError("other", fault="other"), 3, "other"),
        (NoSuchProcessError(404, "none"), 4, "none (smartmob ps lists them)"),
        (AddressError("no URL"), 2, "no URL"),
        (NotAllowedError(401, "no token"), 1, "no token (SMARTMOB_TOKEN has a token, or --token-"),
        (NotAllowedError(403, "no name"), 1, "no name"),
        (ConflictError(409, "in use"), 1, "in use"),
        (BadAnswerError("strange"), 1, "strange"),
    ],
)
def test_an_error_is_one_line_and_a_code(error: ClientError, code: int, line: str) -> None:
    explained = explain(error)
    assert explained.line.startswith(line)
    assert (explained.code, "\n" in explained.line) == (code, False)


@pytest.mark.parametrize(
    ("known", "hint"),
    [
        ([], "there are no processes"),
        (["a.0"], "smartmob ps lists them"),
        (["helo"], "did you mean 'helo'?"),
    ],
)
def test_what_is_alike_is_suggested(known: list[str], hint: str) -> None:
    assert suggest("hello", known) == hint


def test_the_help_and_the_page_have_all_exit_codes() -> None:
    codes = {
        value
        for name, value in vars(failure).items()
        if name in failure.__all__ and isinstance(value, int)
    }
    page = (Path(__file__).parents[2] / "docs/smartmob.rst").read_text()
    for text, pattern in ((EPILOG, r"^ +(\d+)  "), (page, r"^   \* - (\d+)$")):
        found = re.findall(pattern, text, re.MULTILINE)
        assert [int(code) for code in found] == sorted(codes)


@pytest.mark.parametrize(("end", "code"), [(nullcontext, 130), (detachable, 0)])
def test_elsewhere_than_on_a_terminal_ctrl_c_says_nothing(
    end: Callable[[], AbstractContextManager[None]], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        with end():
            raise KeyboardInterrupt

    assert run(work) == code
    assert capsys.readouterr() == ("", "")


def test_a_cell_has_no_control_characters() -> None:
    assert format_cell("a\tb\nc\x1b[31m") == "a b c [31m"
    assert [format_cell(value) for value in (None, "", 0)] == ["-", "-", "0"]
    assert format_cell({"a": [1, None]}) == '{"a": [1, null]}'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (59, "59 s ago"), (60, "1 min ago"), (7200, "2 h ago"), (2e5, "2 d ago")],
)
def test_times_are_said_as_a_human_would(seconds: float, text: str) -> None:
    assert ago(datetime.now(UTC) - timedelta(seconds=seconds)) == text


def test_no_time_is_none() -> None:
    assert ago(None) == "-"


@pytest.mark.parametrize(
    ("name", "fields", "text"),
    [
        ("exited", {"code": 1}, "ended: exit code 1"),
        ("dropped", {"lines": 5}, "5 lines are lost: the agent has them no more"),
        ("end", {"reason": "agent"}, "the agent stops"),
        ("new", {"a": 1}, "new a=1"),
    ],
)
def test_events_are_said_in_words(name: str, fields: dict[str, object], text: str) -> None:
    assert describe_event(Event(name=name, time=None, fields=fields)) == text


async def test_lines_that_are_lost_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    agent = MemoryAgent(["line 1", "line 2"], kept_from=2)
    async with client_of(agent) as client:
        async with client.log("hello.web.0", after=0) as log:
            assert await log.receive() == LogPart(data=b"", missed=1)
        await copy_log(client.log("hello.web.0", after=0), "hello.web.0", (), as_json=False)
    out, err = capsys.readouterr()
    assert out == "line 2\n"
    assert err == "smartmob: hello.web.0: 1 lines are lost: the agent has them no more\n"


def test_a_message_is_one_line_without_control_sequences(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report("the file \x1b[2J\x1b]0;x\x07\n'a'")
    assert capsys.readouterr().err == "smartmob: the file  'a'\n"


def test_a_loss_is_told_with_the_agent_where_there_are_several(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def work() -> int:
        report_as("prod")
        async with client_of(MemoryAgent(["line 1"], cuts=[0])) as client:
            return len([part async for part in client.log("hello.web.0")])

    assert run(work) == 1
    assert capsys.readouterr().err == (
        "smartmob: prod: hello.web.0: connection lost: cut; trying again\n"
        "smartmob: prod: hello.web.0: connected again\n"
    )

"""Tables and lines for a human, as wide as the terminal and in its characters."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime

import pytest

from smartmob_agent.client_cli.terminal import show_step, show_table

HEADER = ["SLUG", "STATE", "ERROR"]
WHY = "the archive has no Procfile, neither at its top nor in its only directory"
ROWS = [["hello.web.0", "running", "-"], ["other.web.0", "no procfile", WHY]]


def shown(
    rows: list[list[str]],
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    show_table(HEADER, rows)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("columns", [55, 20])
def test_errors_stand_below_their_rows_where_there_is_no_room(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is wrapped, nor cut off: a terminal breaks lines by itself."""
    assert shown(ROWS, columns, capsys, monkeypatch) == [
        "SLUG         STATE",
        "hello.web.0  running",
        "other.web.0  no procfile",
        f"  {WHY}",
    ]


def test_errors_are_wrapped_in_their_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(ROWS, 70, capsys, monkeypatch) == [
        "SLUG         STATE        ERROR",
        "hello.web.0  running      -",
        "other.web.0  no procfile  the archive has no Procfile, neither at its",
        "                          top nor in its only directory",
    ]


def test_without_an_error_little_room_is_enough(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(ROWS[:1], 30, capsys, monkeypatch) == [
        "SLUG         STATE    ERROR",
        "hello.web.0  running  -",
    ]


@pytest.mark.parametrize(
    ("encoding", "step"), [("ascii", "a -> b  ?"), ("latin-1", "a -> b  é"), ("utf-8", "a → b  é")]
)
def test_a_step_is_shown_in_the_characters_of_the_terminal(
    encoding: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    show_step(datetime.now(UTC), "x", "b", previous="a", why="é")
    assert written.getvalue().decode(encoding).endswith(f"x  {step}\n")

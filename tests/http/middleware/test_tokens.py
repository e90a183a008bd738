"""The file of tokens."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from smartmob_agent.errors import StartError
from smartmob_agent.http.middleware.authentication import Tokens

ONE, TWO = "a" * 16, "b" * 32


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_each_token_of_the_file_is_accepted(tmp_path: Path) -> None:
    """One per line; comments and empty lines are none."""
    tokens = Tokens(write(tmp_path / "tokens", f"# ours\n\n{ONE}\n  {TWO}  # of TWO\n"))
    accepted = [tokens.accept(text) for text in (ONE, TWO, "# ours", "", ONE + "x", "\udcff")]
    assert accepted == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("# nothing\n", 0o600, "expected a token, found none"),
        (ONE, 0o640, "expected mode 0600, found 0640"),
        (ONE, 0o604, "expected mode 0600, found 0604"),
        (f"{ONE}\nshort\n", 0o600, "line 2: expected 16 to 512 characters"),
        (f"{ONE} {TWO}", 0o600, "line 1: expected"),
    ],
)
def test_a_file_that_is_no_good(tmp_path: Path, text: str, mode: int, message: str) -> None:
    """One line says where it is, and nothing of what is in it."""
    path = write(tmp_path / "tokens", text, mode)
    with pytest.raises(StartError) as caught:
        Tokens(path)
    assert f"token file {path}" in str(caught.value)
    assert message in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The system's words."""
    with pytest.raises(StartError, match="No such file or directory"):
        Tokens(tmp_path / "tokens")


def test_reloading(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bad file does not open the agent, nor does it lock anyone out."""
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "tokens", ONE)
    tokens = Tokens(path)
    path.write_text("")
    assert not tokens.reload()
    assert tokens.accept(ONE)
    path.write_text(TWO)
    assert tokens.reload()
    assert (tokens.accept(ONE), tokens.accept(TWO)) == (False, True)
    assert [r.getMessage() for r in caplog.records] == ["tokens not reloaded", "tokens reloaded"]

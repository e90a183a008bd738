"""Variables from options and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.variables import read_variables


def test_what_is_given_beats_files_and_later_files_earlier_ones(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("# comment\n\nA=1\nB=1\nC=1\n")
    second.write_text("B=2\nC=2\n")
    variables = read_variables(["C=3", "D=a=b", "E"], [first, second], {"E": "here"})
    assert variables == {"A": "1", "B": "2", "C": "3", "D": "a=b", "E": "here"}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=", ""),
        ("A= x y ", "x y"),
        ("A='x # y'", "x # y"),
        ('A="x"', "x"),
        ("A='x\"", "'x\""),
        ("A='", "'"),
        ("export A=x", "x"),
    ],
)
def test_values_of_files_are_plain(line: str, value: str, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(line)
    assert read_variables([], [file], {}) == {"A": value}


def test_what_is_wrong_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=1\nsecret\n")
    with pytest.raises(CommandError, match=r"env line 2: expected NAME=VALUE, found no '='$"):
        read_variables([], [file], {})
    with pytest.raises(CommandError, match=r"cannot read .*none: No such file"):
        read_variables([], [tmp_path / "none"], {})
    file.write_bytes(b"\xff")
    with pytest.raises(CommandError, match=r"cannot read .*env: 'utf-8'"):
        read_variables([], [file], {})
    with pytest.raises(CommandError, match="or a variable that is set; found 'X'"):
        read_variables(["X"], [], {})

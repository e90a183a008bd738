"""Variables from options and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.variables import read_variables


def read(path: Path, text: str) -> dict[str, str]:
    path.write_bytes(text.encode())
    return read_variables([], [path], {"HOME": "/here"})


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
        ("A = x", "x"),
        ("A=x # comment", "x"),
        ("A= # comment", ""),
        ("A=x#y", "x#y"),
        ("A=#y", "#y"),
        ("A='x # y'", "x # y"),
        ("A='x' # comment", "x"),
        ('A="x"', "x"),
        ("A=it's", "it's"),
        (r"""A='it\'s \n'""", r"it's \n"),
        (r'A="a \"b\" \\ \n \t"', 'a "b" \\ \n \t'),
        (r"A=a\nb", r"a\nb"),
        ('A="-----BEGIN\nKEY=\n\n#x\n-----END"', "-----BEGIN\nKEY=\n\n#x\n-----END"),
        ("A='x\ny'", "x\ny"),
        ("export A=x", "x"),
        ("  export   A=x", "x"),
        ("\ufeffA=x", "x"),
        ("\ufeff# comment\r\nA=x\r\n", "x"),
        ('A="x\r\ny"', "x\r\ny"),
        # None of these ends a line, though some take them for line ends.
        ("A=a\x85b\x0cc\x0bd\x1ce\u2028f", "a\x85b\x0cc\x0bd\x1ce\u2028f"),
        ("A=${HOME} $HOME %HOME% `id`", "${HOME} $HOME %HOME% `id`"),
        ('A="${HOME}"', "${HOME}"),
        ("A=1\nA=2", "2"),
    ],
)
def test_values_of_files_are_read_as_others_read_them(
    line: str, value: str, tmp_path: Path
) -> None:
    assert read(tmp_path / "env", line) == {"A": value}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\nsecret\n", r"env line 2: expected NAME=VALUE, found no '='$"),
        ("A=1\n\r\n  \n\nsecret word", "env line 5: expected NAME=VALUE, with an end to each q"),
        ("\n# x\nA='x\nB=1", "env line 3: expected NAME=VALUE, with an end to each quote"),
        ('A="x" y', "env line 1: expected NAME=VALUE, with an end to each quote and no more$"),
        ("A=1\n1B=2", "env line 2: expected a name of A-Z a-z 0-9 _, found '1B'$"),
        ('A="1\n2"\nB-C=2', "env line 3: expected a name of A-Z a-z 0-9 _, found 'B-C'$"),
        ("=1", "env line 1: expected NAME=VALUE"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(text: str, said: str, tmp_path: Path) -> None:
    """Without its text, which may be a secret."""
    with pytest.raises(CommandError, match=said) as caught:
        read(tmp_path / "env", text)
    assert caught.value.code == 2
    assert "secret" not in str(caught.value)


def test_what_is_wrong_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot read .*none: No such file"):
        read_variables([], [tmp_path / "none"], {})
    file = tmp_path / "env"
    file.write_bytes(b"\xff")
    with pytest.raises(CommandError, match=r"cannot read .*env: 'utf-8'"):
        read_variables([], [file], {})
    with pytest.raises(CommandError, match="or a variable that is set; found 'X'"):
        read_variables(["X"], [], {})

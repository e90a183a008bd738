"""Procfiles: RFC 1, line by line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from smartmob_agent.errors import InvalidProcfileError
from smartmob_agent.source.app.procfile import ProcessType, parse_procfile

WIDE = "expected UTF-8, found UTF-{}: save the file as UTF-8 without a byte order mark"


def commands(data: bytes) -> dict[str, str]:
    return {name: one.command for name, one in parse_procfile(data).items()}


def test_a_line_names_a_type_and_a_command() -> None:
    """Assignments are taken off; the order is that of the file."""
    types = parse_procfile(b"web: A=1 B='x y' run --port 1\nworker:work\n")
    assert list(types.values()) == [
        ProcessType(name="web", command="run --port 1", env={"A": "1", "B": "x y"}),
        ProcessType(name="worker", command="work", env={}),
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", {}),
        (b"\n \n\t# web: no\n#\n", {}),
        (b"  \tweb: run", {"web": "run"}),
        (b"web: run  \t\n", {"web": "run"}),
        (b"web: run \\ \n", {"web": "run \\ "}),
        (b"web: run # a word of the shell\n", {"web": "run # a word of the shell"}),
        (b"web: a:b: c\n", {"web": "a:b: c"}),
        (b"worker : run\nweb \t:run", {"worker": "run", "web": "run"}),
        (b"1.a_B-c: run\n", {"1.a_B-c": "run"}),
        ("web: é\u2028\x85\n".encode(), {"web": "é\u2028\x85"}),
        (b"web: run\r\nworker: \\\r\nwork\r\n", {"web": "run", "worker": "work"}),
        (b"web: a\rb\n", {"web": "a\rb"}),
        (b"web: a\\\nb\\\n  c\n", {"web": "a b   c"}),
        (b"web: a\\", {"web": "a"}),
        (b"web: a\\\n\nworker: b", {"web": "a", "worker": "b"}),
        (b"web: a\\\n# b\n", {"web": "a # b"}),
        (b"# a\\\nweb: b\n", {"web": "b"}),
        (b"\\\n\\\n web: b\n", {"web": "b"}),
        (b"\\\n# b\n\\\n\nweb: b", {"web": "b"}),
    ],
)
def test_lines_are_joined_and_ignored(data: bytes, expected: dict[str, str]) -> None:
    """White space, comments and line ends as the RFC has them."""
    assert commands(data) == expected


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"\xef\xbb\xbfweb: run", 1, "expected UTF-8 without a byte order mark, found one"),
        (b"web: run\n\nb: \xff\n", 3, "expected UTF-8, found the byte 0xff"),
        (b"\xff\xfew\0", 1, WIDE.format(16)),
        (b"\xfe\xff\0w", 1, WIDE.format(16)),
        ("web: run\n".encode("utf-16-le"), 1, WIDE.format(16)),
        ("web: run\n".encode("utf-16-be"), 1, WIDE.format(16)),
        ("web: run\n".encode("utf-32"), 1, WIDE.format(32)),
        (b"\0", 1, "expected text, found a NUL"),
        (b"a\0", 1, "expected text, found a NUL"),
        (b"web: run\nb: \0\n", 2, "expected text, found a NUL"),
        (b"\nrun\n", 2, "expected 'TYPE: COMMAND', found 'run'"),
        (b"web x: run\n", 1, "expected 'TYPE: COMMAND', found 'web x: run'"),
        (b"web \v: run\n", 1, "expected 'TYPE: COMMAND', found 'web \\x0b: run'"),
        (b" : run\n", 1, "expected 'TYPE: COMMAND', found ': run'"),
        (b"web: a\nweb : b\n", 2, "duplicate process type 'web', first on line 1"),
        (b": run\n", 1, "expected 'TYPE: COMMAND', found ': run'"),
        (b"TOKEN=s3cret:x\n", 1, "expected 'TYPE: COMMAND', found 'TOKEN=…'"),
        (b"x" * 41, 1, f"expected 'TYPE: COMMAND', found '{'x' * 40}…'"),
        (b"\x1b[2J\n", 1, "expected 'TYPE: COMMAND', found '\\x1b[2J'"),
        (b"a: \\\n\\\n\nb: c", 1, "expected a command for process type 'a', found nothing"),
        (b"#\n#\na: b\\\nc\nd", 5, "expected 'TYPE: COMMAND', found 'd'"),
        (b"a: # b\n", 1, "expected a command for process type 'a', found a comment"),
        (b"a: A=1\n", 1, "expected a command for process type 'a', found only assignments"),
        (b"a: b\\\n\nb: c\na: d", 4, "duplicate process type 'a', first on line 1"),
        (b"\na: A=1 A=2 b", 2, "duplicate variable 'A' before a command"),
        (b"a: A='b c", 1, "expected a closing ' in the value of 'A'"),
    ],
)
def test_a_broken_rule_is_named_with_its_line(data: bytes, line: int, message: str) -> None:
    """The error says where, what was found and what was expected."""
    with pytest.raises(InvalidProcfileError) as info:
        parse_procfile(data)
    assert (info.value.line, str(info.value)) == (line, f"Procfile line {line}: {message}")


@settings(deadline=None)
@given(
    st.binary()
    | st.lists(st.sampled_from(["web:", "A=", "x", "'", '"', "\\", "$", " ", "\r", "\n", "env"]))
    .map("".join)
    .map(str.encode)
)
def test_no_bytes_do_anything_but_parse_or_be_refused(data: bytes) -> None:
    """Whatever the bytes: process types with commands, or an error of one line."""
    try:
        types = parse_procfile(data)
    except InvalidProcfileError as exc:
        error = exc
    else:
        assert all(one.command for one in types.values())
        return
    assert 1 <= error.line <= data.count(b"\n") + 1
    assert "\n" not in str(error)

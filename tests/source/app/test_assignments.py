"""Assignments before a command: what is taken off, and that a shell agrees."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings, strategies as st

from smartmob_agent.source.app.assignments import AssignmentError, split_assignments


@pytest.mark.parametrize(
    ("command", "env", "rest"),
    [
        ("run", {}, "run"),
        ("A=1 run", {"A": "1"}, "run"),
        ("A=1 _b2='x y'  run --now", {"A": "1", "_b2": "x y"}, "run --now"),
        ("A= run", {"A": ""}, "run"),
        ("A=a\"b c\"'d e'\\ f run", {"A": "ab cd e f"}, "run"),
        ('A="\\$x \\` \\" \\\\ \\n" run', {"A": '$x ` " \\ \\n'}, "run"),
        ("A='$x `y` \\' run", {"A": "$x `y` \\"}, "run"),
        ("A=\\$x run", {"A": "$x"}, "run"),
        ("A=x=y#z run", {"A": "x=y#z"}, "run"),
        ("A=a:b~:c* run", {"A": "a:b~:c*"}, "run"),
        ("A='~' B=''~ run", {"A": "~", "B": "~"}, "run"),
        ("A=1 2B=2 run", {"A": "1"}, "2B=2 run"),
        ("A=1>out run", {"A": "1"}, ">out run"),
        ("A=1 <in run", {"A": "1"}, "<in run"),
        ("A=1", {"A": "1"}, ""),
    ],
)
def test_assignments_are_taken_off_unquoted(command: str, env: dict[str, str], rest: str) -> None:
    """What needs no expansion goes into the environment, as a shell would put it there."""
    assert split_assignments(command) == (env, rest)


@pytest.mark.parametrize(
    ("command", "env", "rest"),
    [
        ("env A=1  run", {"A": "1"}, "run"),
        ("env\tA=1 B=2 run", {"A": "1", "B": "2"}, "run"),
        ("env A=a:b run", {"A": "a:b"}, "run"),
        ("env", {}, "env"),
        ("env run", {}, "env run"),
        ("env -i A=1 run", {}, "env -i A=1 run"),
        ("environment A=1", {}, "environment A=1"),
        ("env 1A=1 run", {}, "env 1A=1 run"),
        ("env A=1 B=$C run", {"A": "1"}, "env B=$C run"),
        ("env A=*.py run", {}, "env A=*.py run"),
    ],
)
def test_env_goes_with_its_assignments(command: str, env: dict[str, str], rest: str) -> None:
    """The word `env` is taken off only when nothing else would be left for it to do."""
    assert split_assignments(command) == (env, rest)


@pytest.mark.parametrize(
    "value",
    ["$B", "${B:-1}", "$(b)", "`b`", '"$B"', '"a `b`"', "~", "~/b", "a:~/b", "\\", "$'a"],
)
def test_expansions_are_left_to_the_shell(value: str) -> None:
    """The assignment that needs a shell stays, with all that follows it."""
    command = f"A=1 B={value} C=3 run"
    if value == "\\":
        command = f"A=1 B={value}"
    assert split_assignments(command) == ({"A": "1"}, command.removeprefix("A=1 "))


@pytest.mark.parametrize("separator", [";", "&&", "|", "||", "&", ")", "("])
@pytest.mark.parametrize("blank", ["", " "])
def test_assignments_that_are_a_command_stay(separator: str, blank: str) -> None:
    """In `A=1; run` the variable does not reach the environment of `run`."""
    command = f"A=1{blank}{separator} run"
    assert split_assignments(command) == ({}, command)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("A='x run", "expected a closing ' in the value of 'A'"),
        ('A="x\\" run', "expected a closing \" in the value of 'A'"),
        ('A="x\\', "expected a closing \" in the value of 'A'"),
        ("A=1 B=2 A=3 run", "duplicate variable 'A' before a command"),
        ("env A=1 A=1 run", "duplicate variable 'A' before a command"),
    ],
)
def test_what_no_shell_takes_is_refused(command: str, message: str) -> None:
    """The message names the variable, and nothing of its value."""
    with pytest.raises(AssignmentError) as info:
        split_assignments(command)
    assert str(info.value) == message


@pytest.mark.slow
def test_a_long_line_takes_no_long_time() -> None:
    """Reading is linear: 100,000 assignments and a megabyte of quoting are no attack."""
    many = "".join(f"A{n}=1 " for n in range(100_000)) + "run"
    assert len(split_assignments(many)[0]) == 100_000
    assert split_assignments('A="' + "\\a" * 500_000 + '" run')[1] == "run"


PRINT_ENV = f"{sys.executable} -ISc 'import os; print(ascii(sorted(os.environb.items())))'"

quotings = st.one_of(
    st.text("ab=#%{}]!,:@^+-./\t é", max_size=5).map(lambda text: f"'{text}'"),
    st.text("ab=#%{}]!,:@^+-./ *?[';&|<>()~é", max_size=5).map(lambda text: f'"{text}"'),
    st.sampled_from(['"\\$a"', '"\\`\\\\\\""', '"\\a"', "\\ ", "\\$", "\\\\", "\\'", '\\"', "\\~"]),
    st.text("abc019=#%{}]!,:@^+-./é", max_size=5),
)
values = st.lists(quotings, max_size=4).map("".join)
names = st.from_regex(r"[B-Z][A-Z0-9_]{0,3}", fullmatch=True).map("T_{}".format)


@pytest.mark.slow
@pytest.mark.parametrize("word", ["", "env "])
@settings(max_examples=25, deadline=None)
@given(assignments=st.lists(st.tuples(names, values), max_size=4, unique_by=lambda pair: pair[0]))
def test_a_shell_gives_the_same_environment(word: str, assignments: list[tuple[str, str]]) -> None:
    """What we take off reaches a child as it would have if /bin/sh had read it."""
    prefix = word if assignments else ""
    command = prefix + "".join(f"{name}={value} " for name, value in assignments) + PRINT_ENV
    env, rest = split_assignments(command)
    assert rest == PRINT_ENV
    assert _run(rest, env) == _run(command, {})


def _run(command: str, env: dict[str, str] | object) -> str:
    base = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    assert isinstance(env, dict)
    argv = ["/bin/sh", "-c", command]
    return subprocess.run(argv, env=base | env, check=True, capture_output=True, text=True).stdout

"""The last command of a shell line takes the place of its shell, and nothing else changes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from smartmob_agent.source.app.shell_line import replace_shell

SHELLS = [
    argv
    for argv in (["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"], ["/bin/sh"])
    if shutil.which(argv[0])
]


@pytest.mark.parametrize(
    ("line", "replaced"),
    [
        ("python3 app.py", "exec python3 app.py"),
        ("  python3 app.py  ", "  exec python3 app.py  "),
        ("python3 app.py 2>&1", "exec python3 app.py 2>&1"),
        ("2>&1 python3 app.py", "2>&1 exec python3 app.py"),
        ("app >out 2>>log <in 3>&1 >|x", "exec app >out 2>>log <in 3>&1 >|x"),
        ("A=$B gunicorn -b :$PORT app:app", "A=$B exec gunicorn -b :$PORT app:app"),
        ('puma -p ${PORT:-3000} -e "$ENV x"', 'exec puma -p ${PORT:-3000} -e "$ENV x"'),
        ("gunicorn -w $(nproc) 'a b' \\$x", "exec gunicorn -w $(nproc) 'a b' \\$x"),
        ("cd web && ./server", "cd web && exec ./server"),
        ("a; b || c;", "a; b || exec c;"),
        ("a\nb\n", "a\nexec b\n"),
        ("X=1; app", "X=1; exec app"),
        ("[ -f .env ] && app", "[ -f .env ] && exec app"),
        (". bin/activate && ./app", ". bin/activate && exec ./app"),
        (
            ". bin/activate && app x; ",
            ". bin/activate && case $(command -v app) in */*) exec app x;; *) app x;; esac; ",
        ),
        ("app a#b {x,y} *.py [z]", "exec app a#b {x,y} *.py [z]"),
    ],
)
def test_the_last_program_of_a_list_replaces_the_shell(line: str, replaced: str) -> None:
    assert replace_shell(line) == replaced


@pytest.mark.parametrize(
    "line",
    [
        "",
        "exec app",
        "cd web && exec app",
        "a | b",
        "a & b",
        "app &",
        "a && b &",
        "(cd web; app)",
        "{ app; }",
        "! app",
        "if true; then app; fi",
        "while true; do app; done",
        "case x in x) app;; esac",
        "f() { app; }; f",
        "app <<END",
        "app <(cat)",
        "app &>log",
        "echo ready",
        "app || true",
        "X=1",
        ">file",
        "$APP x",
        "'app' x",
        "$(which app) && x",
        "app `date`",
        "app $(date +%s | tail)",
        'app "$(date | tail)"',
        "app $((1+1))",
        "app # comment",
        "app 'x",
        'app "x',
        "app \\",
        "app &&",
        "app >",
        "; app",
        "app;; x",
        "trap 'echo bye' EXIT; app",
        "alias app=x; app",
        ". bin/activate && X=$Y app",
    ],
)
def test_all_else_is_left_as_it_is(line: str) -> None:
    """A pipe has no last program, `exec` finds no builtin, and a trap would be lost."""
    assert replace_shell(line) == line


def run(shell: list[str], line: str, directory: Path) -> tuple[int, str]:
    """Return exit code and output; what a shell says of errors differs with `exec`."""
    result = subprocess.run(
        [*shell, "-c", line],
        cwd=directory,
        env={"PATH": "/usr/bin:/bin", "X": "it is"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shell")
    (path / "functions").write_text("env() { echo a function; }\nY=sourced\n")
    (path / "fail").write_text("#!/bin/sh\nexit 3\n")
    (path / "fail").chmod(0o755)
    return path


COMMANDS = st.sampled_from(
    [
        "env printf '%s\\n' \"$X\" one",
        "Y=$X env | grep ^Y=",
        "Y=$X sh -c 'echo $Y'",
        "./fail",
        "nosuchprogram x",
        "true",
        "false",
        "cd ..",
        ". ./functions",
        "env echo plain",
        "exec ./fail",
        "X=2",
        "cat /etc/hostname 2>/dev/null",
        "env echo $(echo sub) ${Z:-default} 'a  b' \"c  $X\"",
        "env -i sh -c 'echo $0; exit 5' name",
        "trap 'echo bye' EXIT",
        "(exit 4)",
        "env >/dev/null",
        "echo x | cat",
    ]
)
LINES = st.lists(
    st.tuples(COMMANDS, st.sampled_from([" && ", " || ", "; ", ";", "\n"])), min_size=1, max_size=4
).map(lambda parts: "".join(command + sep for command, sep in parts[:-1]) + parts[-1][0])


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@settings(deadline=None, max_examples=60)
@given(line=LINES)
def test_a_replaced_shell_does_the_same(shell: list[str], line: str, directory: Path) -> None:
    """The same output and the same exit code, in each shell that may be /bin/sh."""
    assert run(shell, replace_shell(line), directory) == run(shell, line, directory)

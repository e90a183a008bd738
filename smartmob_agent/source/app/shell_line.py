"""The last command of a shell line, made to take the place of its shell.  Pure.

`/bin/sh -c 'cd app && ./server'` leaves the shell between the agent and the app: it gets the
app's signals and dies of them, and tells the app's death by SIGKILL as exit code 137.  With
`exec` before the last command there is nothing in between, whichever shell /bin/sh is.

The grammar is that of POSIX.1-2017, "Shell Command Language".  What is not a plain list of
simple commands is left as it is: a pipe, a compound command, a job in the background, a here
document.  So is a line that sets a trap, which `exec` would lose.
"""

from __future__ import annotations

import re

import attrs

__all__ = ["replace_shell"]

# fmt: off
BUILTINS = frozenset({
    ".", ":", "[", "alias", "bg", "bind", "break", "builtin", "caller", "cd", "chdir", "command",
    "compgen", "complete", "compopt", "continue", "declare", "dirs", "disown", "echo", "enable",
    "eval", "exec", "exit", "export", "false", "fc", "fg", "getopts", "hash", "help", "history",
    "jobs", "kill", "let", "local", "logout", "mapfile", "popd", "printf", "print", "pushd",
    "pwd", "read", "readarray", "readonly", "return", "select", "set", "setvar", "shift", "shopt",
    "source", "suspend", "test", "times", "trap", "true", "type", "typeset", "ulimit", "umask",
    "unalias", "unset", "wait", "whence",
})
# fmt: on
"""What dash, BusyBox, bash and ksh have built in: `exec` finds another program or none."""

# fmt: off
RESERVED = frozenset({
    "!", "{", "}", "[[", "]]", "case", "coproc", "do", "done", "elif", "else", "esac", "fi",
    "for", "function", "if", "in", "select", "then", "time", "until", "while",
})
# fmt: on
"""Words that begin or go on with a compound command (section 2.4, and bash)."""

DEFINING = frozenset({".", "source", "eval"})
"""Commands that may define functions, which hide programs."""

LOSING = frozenset({"trap", "alias"})
"""Commands after which `exec` would do something else than the shell."""

BLANK = re.compile(r"[ \t]+")
SEPARATOR = re.compile(r"&&|\|\||;(?!;)|\n")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
REDIRECTION = re.compile(r"\d*(?:>>|>\||>&|<&|<>|>(?![>|&(])|<(?![<&>(]))[ \t]*")

# Pieces of a word, each as a whole.
PLAIN = re.compile(r"""[^ \t\n'"\\$`;&|<>()#{}*?\[]+""")
SINGLE = re.compile(r"'[^']*'")
ESCAPE = re.compile(r"\\.", re.DOTALL)
QUOTED = re.compile(r'"(?:[^"\\$`]++|\\.)*+"', re.DOTALL)

EXPANSION = re.compile(
    r"""\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!$-]"""
    r"""|\{[A-Za-z_][A-Za-z0-9_]*(?::?[-=+?][^}'"\\$`]*)?\}"""
    r"""|\((?!\()[^()'"\\`$#;&|<>]*\))"""
)
"""A parameter, perhaps with a plain default, or what one plain command prints."""
QUOTED_EXPANSIONS = re.compile(rf'"(?:[^"\\$`]|\\.|{EXPANSION.pattern})*+"', re.DOTALL)

LITERAL = re.compile(r"[A-Za-z0-9_./+@:,~%-]+")
"""A command word that is the same with and without a shell."""


class _LeaveError(Exception):
    """The line is more than a list of simple commands, or no shell would take it."""


@attrs.frozen(kw_only=True)
class _Simple:
    """A simple command.

    begin: where it begins, with its assignments and redirections.
    start: where its command word begins.
    end: behind its last word.
    word: the command word; None where only a shell can tell what it is.
    """

    begin: int
    start: int
    end: int
    word: str | None


def replace_shell(command: str) -> str:
    """Let the last command of a line replace its shell, where that changes nothing else.

    command: for `/bin/sh -c`; what is no plain list of commands is returned as it is.
    """
    try:
        commands = _read_list(command)
    except _LeaveError:
        return command
    *before, last = commands
    words = {simple.word for simple in before}
    if last.word is None or last.word in BUILTINS or None in words or words & LOSING:
        return command
    if words & DEFINING and "/" not in last.word:
        if last.begin != last.start:
            return command
        # Only the shell knows whether it has a function of that name by then.
        text = command[last.start : last.end]
        choice = f"case $(command -v {last.word}) in */*) exec {text};; *) {text};; esac"
        return f"{command[: last.start]}{choice}{command[last.end :]}"
    return f"{command[: last.start]}exec {command[last.start :]}"


def _read_list(text: str) -> list[_Simple]:
    """Read simple commands with `&&`, `||`, `;` or a new line between them (section 2.9.3).

    Raises `_LeaveError`.
    """
    commands = []
    position = _skip_blanks(text, 0)
    while True:
        simple, position = _read_simple(text, position)
        commands.append(simple)
        if position == len(text):
            return commands
        separator = SEPARATOR.match(text, position)
        if separator is None:
            raise _LeaveError
        position = _skip_blanks(text, separator.end())
        if position == len(text):
            if separator[0] in ("&&", "||"):
                raise _LeaveError
            return commands


def _read_simple(text: str, position: int) -> tuple[_Simple, int]:
    """Read a simple command (section 2.9.1), and the blanks behind it."""
    begin, start, end, word = position, -1, position, None
    while position < len(text) and text[position] not in ";&|\n":
        if redirection := REDIRECTION.match(text, position):
            end = _read_word(text, redirection.end())
        else:
            end = _read_word(text, position)
            if start < 0 and not ASSIGNMENT.match(text, position):
                start, word = position, text[position:end]
        position = _skip_blanks(text, end)
    if end == begin or word in RESERVED:
        raise _LeaveError
    if start < 0:  # assignments and redirections alone
        start, word = begin, ":"
    known = word if word == "[" or LITERAL.fullmatch(word or "") else None
    return _Simple(begin=begin, start=start, end=end, word=known), position


def _read_word(text: str, position: int) -> int:
    """Return the end of the word that begins at `position`; there must be one."""
    start = position
    while position < len(text) and text[position] not in " \t\n;&|<>":
        for piece in (PLAIN, SINGLE, QUOTED, ESCAPE):
            if match := piece.match(text, position):
                position = match.end()
                break
        else:
            position = _read_special(text, position, start)
    if position == start:
        raise _LeaveError
    return position


def _read_special(text: str, position: int, start: int) -> int:
    """Read what is special in a word: an expansion, a pattern, a sign that means nothing here."""
    if match := EXPANSION.match(text, position) or QUOTED_EXPANSIONS.match(text, position):
        return match.end()
    if text[position] in "*?[]{}" or (text[position] == "#" and position > start):
        return position + 1
    raise _LeaveError  # a quote without its end, a long substitution, a comment, a parenthesis


def _skip_blanks(text: str, position: int) -> int:
    match = BLANK.match(text, position)
    return match.end() if match else position

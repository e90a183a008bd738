"""The assignments before a shell command, taken off.  Pure.

What a shell would have to expand is left to the shell: its assignment and all that follows
stay part of the command.  Quoting is that of POSIX.1-2017, "Shell Command Language", 2.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["AssignmentError", "split_assignments"]

BLANKS = frozenset(" \t")

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""POSIX.1-2017, Base Definitions, section 3.235."""
NAME = re.compile(rf"({VARIABLE_NAME.pattern})=")

# `env` as a word of its own, with an assignment behind it.
ENV = re.compile(rf"env[ \t]+(?={NAME.pattern})")

# One piece of a word: what a shell takes as it is, and the three kinds of quoting.
PLAIN = re.compile(r"""[^ \t\n'"\\$`;&|<>()~:*?\[]+""")
SINGLE = re.compile(r"'([^']*)'")
DOUBLE = re.compile(r'"((?:[^"\\$`]++|\\.)*+)"', re.DOTALL)
DOUBLE_EXPANSION = re.compile(r'"(?:[^"\\$`]++|\\.)*+[$`]', re.DOTALL)
ESCAPE = re.compile(r"\\(.)", re.DOTALL)

# In double quotes a backslash quotes these; before all others it is an ordinary character.
DOUBLE_ESCAPE = re.compile(r'\\([$`"\\])')

GLOBS = "*?["

# Behind these the assignments were a command of their own.
SEPARATORS = frozenset(";&|()")


class AssignmentError(ValueError):
    """An assignment that no shell would take either; the message is for a human."""


class _ExpansionError(Exception):
    """The value needs a shell."""


def split_assignments(command: str) -> tuple[Mapping[str, str], str]:
    """Take off the assignments that `command` begins with: (variable name → value, the rest).

    They are also taken off behind a leading word `env`, which goes with them.  Nothing is
    taken off when they are a command of their own (`A=1; cmd`), where they would not reach
    the environment of what follows.

    Raises `AssignmentError` for a quote that does not end, and a variable assigned twice.
    """
    env_word = ENV.match(command)
    position = env_word.end() if env_word else 0
    assignments: dict[str, str] = {}
    prefix = ""
    while name := NAME.match(command, position):
        try:
            value, end = _read_word(command, name.end(), name[1], argument=bool(env_word))
        except _ExpansionError:
            prefix = env_word[0] if env_word else ""
            break
        if name[1] in assignments:
            raise AssignmentError(f"duplicate variable {name[1]!r} before a command")
        assignments[name[1]] = value
        position = _skip_blanks(command, end)
        if command[position : position + 1] in SEPARATORS:
            return {}, command
        if position == end:  # the end of the command, or a redirection: `A=1>file cmd`
            break
    return assignments, prefix + command[position:]


def _read_word(text: str, position: int, name: str, *, argument: bool) -> tuple[str, int]:
    """Read the value that begins at `position`: (value without quoting, its end).

    argument: it stands behind `env`, where a shell would also look for files that match.

    Raises `_ExpansionError` and `AssignmentError`.
    """
    value = ""
    start = position
    while position < len(text):
        character = text[position]
        if character in " \t\n;&|<>()":
            break
        if match := PLAIN.match(text, position) or ESCAPE.match(text, position):
            value += match[match.lastindex or 0]
        elif match := SINGLE.match(text, position):
            value += match[1]
        elif match := DOUBLE.match(text, position):
            value += DOUBLE_ESCAPE.sub(r"\1", match[1])
        elif character == "'" or (character == '"' and not DOUBLE_EXPANSION.match(text, position)):
            raise AssignmentError(f"expected a closing {character} in the value of {name!r}")
        elif _needs_shell(text, position, start, argument=argument):
            raise _ExpansionError
        else:
            value += character
            position += 1
            continue
        position = match.end()
    return value, position


def _skip_blanks(text: str, position: int) -> int:
    while text[position : position + 1] in BLANKS:
        position += 1
    return position


def _needs_shell(text: str, position: int, start: int, *, argument: bool) -> bool:
    character = text[position]
    if character == "~":  # a home directory at the start of a value and behind a colon
        return position == start or text[position - 1] == ":"
    return character in '$`"\\' or (argument and character in GLOBS)

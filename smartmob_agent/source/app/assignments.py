"""Splits the assignments off a shell command.  Pure.

Values that a shell would have to expand are left to the shell: such an assignment and all that
follows it stay part of the command.  Quoting is that of POSIX.1-2017, "Shell Command Language",
2.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["AssignmentError", "split_assignments"]

BLANKS = frozenset(" \t")

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""POSIX.1-2017, Base Definitions, section 3.235."""
NAME = re.compile(rf"({VARIABLE_NAME.pattern})=")

# `env` as a word of its own, with an assignment after it.
ENV = re.compile(rf"env[ \t]+(?={NAME.pattern})")

# One piece of a word: characters without a meaning to the shell, and the three kinds of quoting.
PLAIN = re.compile(r"""[^ \t\n'"\\$`;&|<>()~:*?\[]+""")
SINGLE = re.compile(r"'([^']*)'")
DOUBLE = re.compile(r'"((?:[^"\\$`]++|\\.)*+)"', re.DOTALL)
DOUBLE_EXPANSION = re.compile(r'"(?:[^"\\$`]++|\\.)*+[$`]', re.DOTALL)
ESCAPE = re.compile(r"\\(.)", re.DOTALL)

# In double quotes a backslash quotes these; before all others it is an ordinary character.
DOUBLE_ESCAPE = re.compile(r'\\([$`"\\])')

GLOBS = "*?["

# Before one of these, the assignments are a command of their own.
SEPARATORS = frozenset(";&|()")


class AssignmentError(ValueError):
    """An assignment that a shell would reject too; the message is for the user."""


class _ExpansionError(Exception):
    """The value needs a shell."""


def split_assignments(command: str) -> tuple[Mapping[str, str], str]:
    """Split off the assignments at the start of `command`: (variable name → value, the rest).

    Assignments after a leading word `env` are split off too, together with that word.  Assignments
    that are a command of their own (`A=1; cmd`) are not: they would not reach the environment of
    the next command.

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
    """Read the value that starts at `position`: (value without quoting, its end).

    argument: whether it is one of `env`, for which a shell would also expand patterns.

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
    if character == "~":  # a home directory at the start of a value and after a colon
        return position == start or text[position - 1] == ":"
    return character in '$`"\\' or (argument and character in GLOBS)

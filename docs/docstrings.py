"""The docstrings of the code, which are plain text, as reStructuredText."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["to_rst"]

_CODE = re.compile(r"(?<![`:\w])`([^`]+)`(?!`)")
_FIELD = re.compile(r"([a-z_]+(?:, [a-z_]+)*): (.*)")


def to_rst(lines: Sequence[str]) -> list[str]:
    """Turn code in single backquotes into literals, and `name: text` lines into definitions.

    A paragraph is a list of definitions when it begins with such a line; lines without a name
    go on with the one before them.  What is indented stays as it is.
    """
    result: list[str] = []
    for paragraph in _paragraphs(lines):
        if paragraph[0].startswith(" "):
            result += paragraph
        elif _FIELD.fullmatch(paragraph[0]):
            for line in paragraph:
                result += _definition(line)
        else:
            result += map(_literals, paragraph)
        result.append("")
    return result


def _paragraphs(lines: Sequence[str]) -> Iterator[list[str]]:
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if line:
            paragraph.append(line)
        elif paragraph:
            yield paragraph
            paragraph = []


def _definition(line: str) -> Sequence[str]:
    match = _FIELD.fullmatch(line)
    if match is None:
        return [f"    {_literals(line.strip())}"]
    names = ", ".join(f"``{name}``" for name in match[1].split(", "))
    return [names, f"    {_literals(match[2])}"]


def _literals(text: str) -> str:
    return _CODE.sub(r"``\1``", text)

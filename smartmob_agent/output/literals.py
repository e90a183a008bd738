"""Text that a line must have for a regular expression to match: much faster to look for.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["needed_literals"]

_CLASSES = frozenset("dDwWsSbBAZ")
"""Letters that mean something behind a backslash, and take nothing behind them with them."""


class _UnknownError(Exception):
    """It is not known what something means."""


def needed_literals(pattern: str) -> Sequence[bytes]:
    """Return texts of which each match has at least one; none if that is not known.

    pattern: a regular expression that is one.  Only what is plain in it is understood.
    """
    if "(?" in pattern:  # Flags, look-arounds and much else.
        return ()
    try:
        return tuple(text.encode() for text in _needed(pattern))
    except _UnknownError:
        return ()


def _needed(pattern: str) -> Sequence[str]:
    found: list[str] = []
    for branch in _branches(pattern):
        best = max(_candidates(branch), key=_shortest, default=())
        if not best:
            return ()
        found += best
    return tuple(dict.fromkeys(found))


def _shortest(texts: Sequence[str]) -> int:
    return min(map(len, texts), default=0)


Piece = str | tuple[str, ...]
"""A character, or texts of which one is there; empty for whatever else."""


def _branches(pattern: str) -> Iterator[list[Piece]]:
    """Go through the alternatives, each in pieces."""
    pieces: list[Piece] = []
    at = 0
    while at < len(pattern):
        char, end = pattern[at], at + 1
        if char == "|":
            yield pieces
            pieces = []
        elif char == "\\":
            pieces.append(_escaped(pattern[end : end + 1]))
            end += 1
        elif char == "[":
            end = _class_end(pattern, at)
            pieces.append("")
        elif char == "(":
            end = _group_end(pattern, at)
            pieces.append(tuple(_needed(pattern[at + 1 : end - 1])))
        elif char in "*?{":
            pieces[-1:] = [""]
            end = pattern.find("}", at) + 1 if char == "{" else end
        elif char in "+.^$)}]":
            pieces.append("")
        else:
            pieces.append(char)
        at = end or len(pattern)
    yield pieces


def _candidates(pieces: Sequence[Piece]) -> Iterator[Sequence[str]]:
    """Go through what a match of an alternative must have one of."""
    run = ""
    for piece in (*pieces, ""):
        if isinstance(piece, str) and piece:
            run += piece
            continue
        if run:
            yield (run,)
            run = ""
        if piece:
            yield tuple(piece)


def _escaped(char: str) -> str:
    if char in _CLASSES:
        return ""
    if not char or char.isalnum():
        raise _UnknownError
    return char


def _class_end(pattern: str, at: int) -> int:
    """Return where a set of characters ends; `]` is one of them at its beginning."""
    end = at + 1
    end += pattern[end : end + 1] == "^"
    end += pattern[end : end + 1] == "]"
    while end < len(pattern) and pattern[end] != "]":
        if pattern[end] == "[":  # Such as [[:alpha:]].
            raise _UnknownError
        end += 1 + (pattern[end] == "\\")
    return end + 1


def _group_end(pattern: str, at: int) -> int:
    depth, end = 0, at
    while end < len(pattern):
        char = pattern[end]
        if char == "[":
            end = _class_end(pattern, end)
            continue
        if char == "\\":
            end += 1
        depth += (char == "(") - (char == ")")
        end += 1
        if not depth:
            break
    return end

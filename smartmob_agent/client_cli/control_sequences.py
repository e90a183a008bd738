"""What an app writes for a terminal of its own, and what of that another terminal may get.  Pure.

The forms: ECMA-48, 5th edition, sections 5.3 to 5.6; and the BEL at the end of a string, of xterm.
"""

from __future__ import annotations

import re

__all__ = ["only_colours", "without_controls"]

RESET = "\x1b[0m"
_TEXT = r"[^\x00-\x08\x0a-\x1f\x7f-\x9f]"
# No part of it can run over the begin of another sequence: the time is linear in the text.
_SEQUENCE = re.compile(
    r"(\x1b\[[0-9;:]*m)"  # SGR: colours, bold, and the like.
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # All others of a CSI.
    rf"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f]){_TEXT}*(?:\x1b\\|[\x07\x9c])"  # OSC, DCS, ...
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
)


def only_colours(line: str) -> str:
    """Return a line without control sequences other than colours, which end with the line."""
    clean = _SEQUENCE.sub(_colour, line)
    return clean + RESET if "\x1b" in clean else clean


def without_controls(line: str) -> str:
    """Return a line without control sequences; a tab stays."""
    return _SEQUENCE.sub(_blank, line)


def _colour(found: re.Match[str]) -> str:
    return found[1] or _blank(found)


def _blank(found: re.Match[str]) -> str:
    """Return what stands for a sequence: where a text begins anew, it is no part of the word."""
    return " " if found[0] in "\r\n" else ""

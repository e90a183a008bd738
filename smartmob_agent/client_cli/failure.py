"""What a command ends with when it cannot do what it was asked for: one line and a code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from smartmob_agent.client.errors import (
    AddressError,
    ClientError,
    NoConnectionError,
    NoSuchProcessError,
    NotAllowedError,
    TlsError,
)
from smartmob_agent.client_cli.output import FAILED, PIPE_CLOSED

__all__ = [
    "DETACHED",
    "FAILED",
    "INTERRUPTED",
    "NO_PROCESS",
    "PIPE_CLOSED",
    "TIMED_OUT",
    "UNREACHABLE",
    "WRONG_USE",
    "CommandError",
    "DetachedError",
    "explain",
    "like",
    "suggest",
]

DETACHED = 0
"""CTRL-C, in what has no end by itself and goes on without us."""
WRONG_USE = 2
UNREACHABLE = 3
NO_PROCESS = 4
CERTIFICATE_HINT = "cert_file and key_file of a named agent are a certificate for it"
_TLS_HINTS = {
    "untrusted": "ca_file of a named agent, or SSL_CERT_FILE, says whom to trust",
    "certificate": CERTIFICATE_HINT,
    "plain": "then its URL has http in place of https",
    "other": "",
}
TIMED_OUT = 124
"""As timeout(1) has it."""
INTERRUPTED = 130
"""CTRL-C: 128 and the number of the signal, as shells have it."""


class CommandError(Exception):
    """The end of a command.

    hint: what to do about it, if anything.
    code: to exit with.
    """

    def __init__(self, message: str, *, hint: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self} ({self.hint})" if self.hint else f"{self}"


class DetachedError(Exception):
    """CTRL-C has ended what has no end by itself."""


def explain(error: ClientError) -> CommandError:
    """Return what a human can do about an error of the client."""
    if isinstance(error, TlsError):
        return CommandError(f"{error}", hint=_TLS_HINTS[error.fault], code=UNREACHABLE)
    if isinstance(error, NoConnectionError):
        hint = "is smartmob-agent running there? --agent or SMARTMOB_AGENT names another one"
        return CommandError(f"{error}", hint=hint, code=UNREACHABLE)
    if isinstance(error, NoSuchProcessError):
        return CommandError(error.detail, hint="smartmob ps lists them", code=NO_PROCESS)
    if isinstance(error, AddressError):
        return CommandError(f"{error}", code=WRONG_USE)
    if isinstance(error, NotAllowedError) and error.status == 401:
        hint = "SMARTMOB_TOKEN has a token, or --token-file FILE"
        return CommandError(f"{error}", hint=hint)
    return CommandError(f"{error}")


def suggest(slug: str, known: Iterable[str]) -> str:
    """Return a hint on which process may have been meant."""
    names = sorted(known)
    if close := like(slug, names):
        return close
    return "there are no processes" if not names else "smartmob ps lists them"


def like(word: str, known: Iterable[str]) -> str:
    """Return a hint on which of some words is like this one, empty if none is."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""

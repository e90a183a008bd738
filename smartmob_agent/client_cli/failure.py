"""How a command fails: exit codes, and one line on stderr."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartmob_agent.client import ClientError

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
    "suggest",
    "suggest_word",
]

DETACHED = 0
"""CTRL-C in a command that has no end by itself; what it shows goes on."""
FAILED = 1
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
"""As of timeout(1)."""
INTERRUPTED = 130
"""CTRL-C: 128 and the number of SIGINT, as in shells."""
PIPE_CLOSED = 141
"""The reader of stdout has gone: 128 and the number of SIGPIPE, as in shells."""


class CommandError(Exception):
    """A command fails.

    hint: what the user may do about the failure; empty if nothing.
    code: the exit code.
    """

    def __init__(self, message: str, *, hint: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code

    @property
    def line(self) -> str:
        """Message and hint in one line."""
        return f"{self} ({self.hint})" if self.hint else f"{self}"


class DetachedError(Exception):
    """CTRL-C has ended a command that has no end by itself."""


def explain(error: ClientError) -> CommandError:
    """Return an error of the client as a failure, with a hint and an exit code."""
    from smartmob_agent.client import (
        AddressError,
        NoConnectionError,
        NoSuchProcessError,
        NotAllowedError,
        TlsError,
    )

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
    """Return a hint on the process that was probably meant."""
    names = sorted(known)
    if close := suggest_word(slug, names):
        return close
    return "there are no processes" if not names else "smartmob ps lists them"


def suggest_word(word: str, known: Iterable[str]) -> str:
    """Return a hint on the known word that is most like this one, empty if none is."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""

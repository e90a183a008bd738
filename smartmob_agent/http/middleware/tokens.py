"""The tokens that let clients in: a file with one per line, in which `#` begins a comment."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import stat
from pathlib import Path

from smartmob_agent.errors import StartError

__all__ = ["Tokens"]

logger = logging.getLogger(__name__)

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*")
"""RFC 6750, section 2.1; a shorter one can be guessed."""
_FILE_BYTES = 1024 * 1024


class Tokens:
    """The tokens in force; only their digests are kept.

    Raises `StartError` when the file cannot be read, is open to others, or has no token.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digests = _read(path)

    def reload(self) -> bool:
        """Read the file again; if that fails, say so in the log and keep what was in force."""
        try:
            self._digests = _read(self._path)
        except StartError as error:
            logger.error("tokens not reloaded", extra={"reason": str(error)})  # noqa: TRY400
            return False
        logger.info("tokens reloaded", extra={"tokens": len(self._digests)})
        return True

    def accept(self, token: str) -> bool:
        """Is this one of the tokens?  Takes as long for one that is nearly right."""
        digest = _digest(token)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _read(path: Path) -> tuple[bytes, ...]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise StartError(f"token file {path}: expected mode 0600, found {mode:04o}")
            lines = file.read(_FILE_BYTES).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise StartError(f"token file {path}: {error.strerror}") from error
    digests = []
    for number, line in enumerate(lines, start=1):
        token = line.partition("#")[0].strip()
        if token and not _TOKEN.fullmatch(token):
            raise StartError(
                f"token file {path}, line {number}: expected 16 to 512 characters of "
                "A-Za-z0-9._~+/-"
            )
        if token:
            digests.append(_digest(token))
    if not digests:
        raise StartError(f"token file {path}: expected a token, found none")
    return tuple(digests)

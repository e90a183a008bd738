"""TLS of the listening sockets, whose files may be renewed while they are in use."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

import trio

from smartmob_agent.config.settings import Security
from smartmob_agent.errors import StartError

__all__ = ["Tls", "open_tls"]

logger = logging.getLogger(__name__)

_LOOK_INTERVAL = 30.0
"""Seconds between two looks at the files: renewed ones are in use within a minute."""


class Tls:
    """The server's side of TLS: what new connections use, and the files that it comes from."""

    def __init__(self, security: Security) -> None:
        """Read the files; raises `StartError`."""
        self._security = security
        self._seen = self._look()
        self.context = _make_context(security)

    def reload(self) -> None:
        """Read the files again; if they are no good, say so in the log and go on as before.

        Connections that are open keep what they began with.  Blocks for as long as the disk takes.
        """
        self._seen = self._look()
        try:
            self.context = _make_context(self._security)
        except StartError as error:
            logger.error("certificate not reloaded", extra={"reason": str(error)})  # noqa: TRY400
        else:
            logger.info("certificate reloaded", extra={"file": str(self._security.tls_cert)})

    async def watch(self) -> None:
        """Reload when a file has changed; runs until it is cancelled.

        If cancelled: does not wait for a disk that does not answer.
        """
        while True:
            await trio.sleep(_LOOK_INTERVAL)
            await trio.to_thread.run_sync(self._reload_if_changed, abandon_on_cancel=True)

    def _reload_if_changed(self) -> None:
        if self._look() != self._seen:
            self.reload()

    def _look(self) -> Sequence[object]:
        """What tells a file from its next version, also where a link leads to another one."""
        files = self._security
        return [_stamp(path) for path in (files.tls_cert, files.tls_key, files.tls_client_ca)]


def open_tls(security: Security) -> Tls | None:
    """Return TLS as it is asked for; None if there is no certificate.  Raises `StartError`."""
    return None if security.tls_cert is None else Tls(security)


def _stamp(path: Path | None) -> object:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _make_context(security: Security) -> ssl.SSLContext:
    """Return the context of the server's side.

    With `tls_client_ca` no client gets in without a certificate of that authority.
    Raises `StartError`.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    at = security.tls_cert
    assert at is not None  # noqa: S101  # by `open_tls`
    try:
        context.load_cert_chain(at, security.tls_key, password=_no_password)
        if security.tls_client_ca is not None:
            at = security.tls_client_ca
            context.load_verify_locations(at)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        raise StartError(f"TLS by {at}: {error.strerror or error}") from error
    return context


def _no_password() -> str:
    """OpenSSL would ask the terminal; an agent that waits for someone to type is none."""
    return ""

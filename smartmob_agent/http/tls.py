"""TLS of the listening sockets."""

from __future__ import annotations

import ssl

from smartmob_agent.config.settings import Security
from smartmob_agent.errors import StartError

__all__ = ["make_tls"]


def make_tls(security: Security) -> ssl.SSLContext | None:
    """Return the context of the server's side; None if there is no certificate.

    With `tls_client_ca` no client gets in without a certificate of that authority.
    Raises `StartError`.
    """
    if security.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    at = security.tls_cert
    try:
        context.load_cert_chain(security.tls_cert, security.tls_key, password=_no_password)
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

"""Safe by default: who can reach the agent can run programs by it."""

from __future__ import annotations

from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.http.loopback import is_loopback

__all__ = ["check_exposure", "exposure_of"]


def check_exposure(config: AgentConfig) -> str | None:
    """Say in one line why an agent must not be bound so, or return None.

    Descriptors that were handed over are judged when they are opened.
    """
    return None if config.descriptors else exposure_of(config.host, config)


def exposure_of(host: str, config: AgentConfig) -> str | None:
    """As `check_exposure`, for one host or address."""
    security = config.security
    if is_loopback(host) or security.insecure_no_auth:
        return None
    if security.token_file is not None or security.tls_client_ca is not None:
        return None
    return (
        f"expected credentials, since {host!r} can be reached from other machines and whoever "
        "reaches the agent can run programs by it: give --token-file, or --tls-cert with "
        "--tls-client-ca, or bind 127.0.0.1, or insist by --insecure-no-auth"
    )

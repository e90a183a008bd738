"""What must not be bound without credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartmob_agent.config.settings import AgentConfig, Security
from smartmob_agent.http.exposure import check_exposure

PATH = Path("x")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_safe(host: str) -> None:
    """Only this machine reaches it."""
    assert check_exposure(AgentConfig(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "agent.example.org"])
def test_other_hosts_need_credentials(host: str) -> None:
    """The message says what to do."""
    message = check_exposure(AgentConfig(host=host))
    assert message is not None
    assert all(word in message for word in (host, "--token-file", "--insecure-no-auth"))


@pytest.mark.parametrize(
    "security",
    [
        Security(token_file=PATH),
        Security(tls_cert=PATH, tls_client_ca=PATH),
        Security(insecure_no_auth=True),
    ],
)
def test_with_credentials_any_host_will_do(security: Security) -> None:
    """Or if the operator insists."""
    assert check_exposure(AgentConfig(host="0.0.0.0", security=security)) is None


def test_a_certificate_alone_lets_everyone_in() -> None:
    """It hides what is said, not who says it."""
    assert check_exposure(AgentConfig(host="::", security=Security(tls_cert=PATH))) is not None


def test_handed_over_sockets_are_judged_later() -> None:
    """Their address is not known yet."""
    assert check_exposure(AgentConfig(host="0.0.0.0", descriptors=(3,))) is None


@pytest.mark.parametrize("values", [{"tls_key": PATH}, {"tls_client_ca": PATH}])
def test_a_key_or_a_ca_needs_a_certificate(values: dict[str, Path]) -> None:
    """Without it there is no TLS."""
    with pytest.raises(ValueError, match="tls_cert"):
        Security(**values)  # type: ignore[arg-type]  # a dict of one type


def test_a_trusted_proxy_is_an_address_or_a_network() -> None:
    """A name could become another address."""
    assert Security(trusted_proxies=("10.0.0.0/8", "::1", "unix")).trusted_proxies
    with pytest.raises(ValueError, match="proxy"):
        Security(trusted_proxies=("proxy.lan",))

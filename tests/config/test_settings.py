"""Limits refuse what cannot work, and say which one it was."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from smartmob_agent.config.settings import (
    AgentConfig,
    HttpLimits,
    OutputLimits,
    RestartDelays,
    Security,
)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_has_its_range(port: int) -> None:
    with pytest.raises(ValueError, match=f"port: expected 0 to 65535, found {port}"):
        AgentConfig(port=port)


@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_some_limits_are_above_0(value: float) -> None:
    with pytest.raises(ValueError, match="send_timeout: expected a number above 0, found"):
        HttpLimits(send_timeout=value)
    with pytest.raises(ValueError, match="console_bytes"):
        OutputLimits(console_bytes=value)  # type: ignore[arg-type]  # what a caller may do


@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_some_limits_may_be_0(value: float) -> None:
    with pytest.raises(ValueError, match="stop_timeout: expected 0 or more, found"):
        AgentConfig(stop_timeout=value)
    assert RestartDelays(steady_uptime=0).steady_uptime == 0


@pytest.mark.parametrize("field", ["tls_key", "tls_client_ca"])
def test_a_key_or_an_authority_needs_a_certificate(field: str) -> None:
    with pytest.raises(ValueError, match="expected a tls_cert with them, found none"):
        Security(**{field: Path("x.pem")})  # type: ignore[arg-type]  # both are paths


def test_a_proxy_is_an_address_a_network_or_unix() -> None:
    assert Security(trusted_proxies=("10.0.0.0/8", "::1", "unix")).trusted_proxies[2] == "unix"
    with pytest.raises(ValueError, match="nobody"):
        Security(trusted_proxies=("nobody",))

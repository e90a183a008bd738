"""Limits refuse what cannot work, and say which one it was."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from smartmob_agent.config.settings import (
    AgentConfig,
    Containment,
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


@pytest.mark.parametrize("url", ["ftp://x", "http://", "https://h?q", "https://h/agent/", ""])
def test_links_of_embedders_begin_with_a_url_too(url: str) -> None:
    """A slash at the end, which the command takes off, would be there twice in each link."""
    assert AgentConfig(public_url="https://h/agent").public_url == "https://h/agent"
    with pytest.raises(ValueError, match="public_url: expected "):
        AgentConfig(public_url=url)


def test_embedders_are_held_to_names_that_are_not_empty() -> None:
    with pytest.raises(ValueError, match="host: expected a value, found nothing"):
        AgentConfig(host="")
    with pytest.raises(ValueError, match="allow_hosts: expected a value, found nothing"):
        Security(allow_hosts=("a.lan", ""))


@pytest.mark.parametrize("rate", [-1, math.nan, 1_000_001, 1e300])
def test_a_start_rate_is_one_that_can_be_counted(rate: float) -> None:
    """Each start of a second is remembered; infinite is no limit, as 0 is."""
    assert AgentConfig(max_start_rate=1_000_000).max_start_rate == 1_000_000
    assert AgentConfig(max_start_rate=math.inf).max_start_rate == math.inf
    with pytest.raises(ValueError, match="max_start_rate: expected 0 to 1000000, found "):
        AgentConfig(max_start_rate=rate)


@pytest.mark.parametrize("count", [0, 4_194_305, 2**80])
def test_there_are_no_more_processes_than_numbers_for_them(count: int) -> None:
    assert Containment(max_processes=4_194_304).max_processes == 4_194_304
    with pytest.raises(ValueError, match="max_processes: expected 1 to 4194304, found "):
        Containment(max_processes=count)


def test_a_proxy_is_an_address_a_network_or_unix() -> None:
    assert Security(trusted_proxies=("10.0.0.0/8", "::1", "unix")).trusted_proxies[2] == "unix"
    with pytest.raises(ValueError, match="nobody"):
        Security(trusted_proxies=("nobody",))

"""Rules on where downloads may go, as the operator writes them."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from smartmob_agent.config.egress_rules import parse_rule
from smartmob_agent.config.settings import EgressRules


@pytest.mark.parametrize(
    ("rule", "parsed"),
    [
        ("example.net", "example.net"),
        ("*.Example.NET.", "*.example.net"),
        ("localhost", "localhost"),
        ("a_b-c.7z", "a_b-c.7z"),
        ("10.0.0.0/8", ip_network("10.0.0.0/8")),
        ("10.0.0.1", ip_network("10.0.0.1/32")),
        ("fd00::/8", ip_network("fd00::/8")),
        ("::1", ip_network("::1/128")),
    ],
)
def test_a_rule_is_a_name_or_a_network(rule: str, parsed: object) -> None:
    assert parse_rule(rule) == parsed


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "*",
        "*.",
        "a.*",
        "*a.net",
        "a..net",
        "http://a",
        "a:80",
        "a/8",
        "münchen.de",
        "[::1]",
        # Misspelt addresses, which would be names that nothing ever matches.
        "10.0.0.1/8",
        "10.0.0.256",
        "10.0.0",
        "10",
        "*.0.0.1",
    ],
)
def test_other_rules_are_refused(rule: str) -> None:
    """A rule that cannot match would leave a door open, and nobody would know."""
    for field in ("allow", "deny"):
        with pytest.raises(ValueError, match=f"^{field}: expected a host name, ") as info:
            EgressRules(**{field: ("good.net", rule)})
        assert str(info.value).endswith(f"found {rule!r}")

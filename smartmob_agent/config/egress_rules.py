"""Rules on where downloads may go, as the operator writes them.

A rule is a host name, `*.DOMAIN` for all names below a domain, an IP address or a network.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

import attrs

__all__ = ["EgressRules", "Subnet", "parse_rule"]

Subnet = IPv4Network | IPv6Network

# The last part of a host name has a letter: else it is an address that is misspelt.
_NAME = re.compile(r"(\*\.)?([\w-]+\.)*(?=[\w-]*[a-z])[\w-]+\.?", re.ASCII | re.IGNORECASE)


def parse_rule(rule: str) -> Subnet | str:
    """A network, or a name in lower case and without a dot at its end.

    Raises `ValueError` for what is neither.
    """
    try:
        return ip_network(rule)
    except ValueError:
        if _NAME.fullmatch(rule):
            return rule.rstrip(".").lower()
    raise ValueError(
        "expected a host name, *.DOMAIN, an IP address or a network without host bits, "
        f"found {rule!r}"
    )


def _check(_instance: object, attribute: attrs.Attribute[tuple[str, ...]], rules: object) -> None:
    assert isinstance(rules, tuple)  # noqa: S101 - for mypy
    for rule in rules:
        try:
            parse_rule(rule)
        except ValueError as exc:
            raise ValueError(f"{attribute.name}: {exc}") from exc


@attrs.frozen(kw_only=True)
class EgressRules:
    """Where downloads may go, and each redirect of them.

    Raises `ValueError` for what is no rule.
    """

    allow: tuple[str, ...] = attrs.field(default=(), validator=_check)
    """Rules for where they may go, and nowhere else.  Link-local addresses and those at which
    clouds answer with credentials take a rule of their own, for nothing but such addresses."""
    deny: tuple[str, ...] = attrs.field(default=(), validator=_check)
    """Rules for where they may not go, whatever `allow` says."""

"""Rules on where downloads may go, as the operator writes them.

A rule is a host name, `*.DOMAIN` for all names below a domain, an IP address or a network.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

__all__ = ["Subnet", "parse_rule"]

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

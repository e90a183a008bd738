"""Where downloads may go: host names and addresses, allowed and denied.  Pure.

The address of the connection is what counts.  So an address is checked in each form that a
network may translate into another one, such as ::ffff:169.254.169.254.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import attrs

from smartmob_agent.config.egress_rules import Subnet, parse_rule
from smartmob_agent.config.settings import EgressRules

__all__ = ["Address", "EgressFilter", "ForbiddenError"]

Address = IPv4Address | IPv6Address

NEVER: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "no address of a machine"),
    ("::/128", "no address of a machine"),
    ("169.254.0.0/16", "link-local, where clouds answer with credentials"),
    ("fe80::/10", "link-local, where clouds answer with credentials"),
    # Metadata of clouds beside the link-local addresses: Alibaba, Azure, Oracle; AWS, Google
    # and Scaleway by IPv6.
    ("100.100.100.200/32", "where a cloud answers with credentials"),
    ("168.63.129.16/32", "where a cloud answers with credentials"),
    ("192.0.0.192/32", "where a cloud answers with credentials"),
    ("fd00:ec2::/32", "where a cloud answers with credentials"),
    ("fd20:ce::254/128", "where a cloud answers with credentials"),
    ("fd00:42::42/128", "where a cloud answers with credentials"),
    ("224.0.0.0/4", "multicast"),
    ("ff00::/8", "multicast"),
    ("240.0.0.0/4", "no address of a machine"),
)

_NEVER = tuple((ip_network(network), what) for network, what in NEVER)

COMPATIBLE = IPv6Network("::/96")
NAT64 = IPv6Network("64:ff9b::/96")
NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
THIS_NETWORK = IPv4Network("0.0.0.0/8")


class ForbiddenError(Exception):
    """A connection that is not allowed; the message names the rule."""


@attrs.frozen
class _Rules:
    """Host names, beginning with `*.` for all names below; networks."""

    names: tuple[str, ...]
    networks: tuple[Subnet, ...]

    @classmethod
    def parse(cls, rules: Iterable[str]) -> _Rules:
        parsed = [parse_rule(rule) for rule in rules]
        return cls(
            tuple(rule for rule in parsed if isinstance(rule, str)),
            tuple(rule for rule in parsed if not isinstance(rule, str)),
        )

    def name_of(self, host: str) -> str | None:
        """The rule for a host name, None if there is none."""
        host = host.rstrip(".").lower()
        for name in self.names:
            if host == name or (name.startswith("*.") and host.endswith(name[1:])):
                return name
        return None

    def network_of(self, address: Address, inside: Subnet | None = None) -> Subnet | None:
        """The rule for an address; only one that is no larger than `inside`."""
        for network in self.networks:
            if address in network and (inside is None or _is_part(network, inside)):
                return network
        return None


@attrs.frozen
class EgressFilter:
    """The filter that `EgressRules` describe."""

    _allow: _Rules
    _deny: _Rules

    @classmethod
    def of(cls, network: EgressRules) -> EgressFilter:
        return cls(_Rules.parse(network.allow), _Rules.parse(network.deny))

    def check_name(self, host: str) -> None:
        """Raise `ForbiddenError` if no address of `host` is allowed: it need not be looked up."""
        if rule := self._deny.name_of(host):
            raise ForbiddenError(f"{host} is denied by the rule {rule}")
        if self._allow.names and not self._allow.networks and not self._allow.name_of(host):
            raise ForbiddenError(f"{host} is not among what is allowed")

    def check(self, host: str, address: Address) -> None:
        """Raise `ForbiddenError` unless a connection to an address of `host` may be made.

        host: a name, or the address itself.
        """
        self.check_name(host)
        shown = str(address) if _is_address(host) else f"{host} has the address {address}, which"
        for form in _forms(address):
            if rule := self._deny.network_of(form):
                raise ForbiddenError(f"{shown} is denied by the rule {rule}")
            for network, what in _NEVER:
                if form in network and not self._allow.network_of(form, inside=network):
                    raise ForbiddenError(f"{shown} is {what} ({network})")
        allow = self._allow
        if allow.networks and not (allow.name_of(host) or allow.network_of(_plain(address))):
            raise ForbiddenError(f"{shown} is not among what is allowed")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_part(network: Subnet, of: Subnet) -> bool:
    return network.version == of.version and network.subnet_of(of)  # type: ignore[arg-type]  # the same version


def _plain(address: Address) -> Address:
    """The address that the kernel connects to."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _forms(address: Address) -> Iterator[Address]:
    """An address, and those into which a network may translate it."""
    yield address
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    for octets in _places(address):
        inner = IPv4Address(octets)
        if inner not in THIS_NETWORK:  # as in ::1
            yield inner


def _places(address: IPv6Address) -> Iterator[bytes]:
    """The octets of an IPv6 address that may be an IPv4 address."""
    octets = address.packed
    embeds = address in COMPATIBLE or address in NAT64 or address in NAT64_LOCAL
    if embeds or octets[8:12] in ISATAP:
        yield octets[12:]
    if address in NAT64_LOCAL:  # further places that its operator may choose (RFC 6052, 2.2)
        yield octets[6:8] + octets[9:11]
        yield octets[7:8] + octets[9:12]
        yield octets[9:13]

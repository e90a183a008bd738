"""Where downloads may go."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, strategies as st

from smartmob_agent.config.settings import EgressRules
from smartmob_agent.source.download.egress import NEVER, EgressFilter, ForbiddenError

OPEN = EgressFilter.of(EgressRules())

# How an address of version 4 is written in one of version 6.
EMBEDDINGS: dict[str, Callable[[int], int]] = {
    "mapped, RFC 4291": lambda v4: 0xFFFF << 32 | v4,
    "compatible, RFC 4291": lambda v4: v4,
    "6to4, RFC 3056": lambda v4: 0x2002 << 112 | v4 << 80 | 1,
    "Teredo server, RFC 4380": lambda v4: 0x20010000 << 96 | v4 << 64,
    "Teredo client, RFC 4380": lambda v4: 0x20010000 << 96 | v4 ^ 0xFFFFFFFF,
    "ISATAP, RFC 5214": lambda v4: 0x20010DB8 << 96 | 0x5EFE << 32 | v4,
    "ISATAP of a public address": lambda v4: 0x20010DB8 << 96 | 0x02005EFE << 32 | v4,
    "NAT64, RFC 6052": lambda v4: 0x64FF9B << 96 | v4,
    "NAT64 /96, RFC 8215": lambda v4: 0x64FF9B0001 << 80 | v4,
    "NAT64 /64, RFC 8215": lambda v4: 0x64FF9B0001 << 80 | v4 << 24,
    "NAT64 /56, RFC 8215": lambda v4: 0x64FF9B0001 << 80 | v4 >> 24 << 64 | (v4 & 0xFFFFFF) << 32,
    "NAT64 /48, RFC 8215": lambda v4: 0x64FF9B0001 << 80 | v4 >> 16 << 64 | (v4 & 0xFFFF) << 40,
}


def refusal(policy: EgressFilter, address: str, host: str = "") -> str | None:
    """The message of the refusal, None if the connection may be made."""
    try:
        policy.check(host or address, ip_address(address))
    except ForbiddenError as exc:
        return str(exc)
    return None


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("169.254.169.254", "is link-local, where clouds answer with credentials (169.254.0.0/16)"),
        ("fe80::1%eth0", "is link-local, where clouds answer with credentials (fe80::/10)"),
        ("fd00:ec2::254", "is where a cloud answers with credentials (fd00:ec2::/32)"),
        ("100.100.100.200", "is where a cloud answers with credentials (100.100.100.200/32)"),
        ("168.63.129.16", "is where a cloud answers with credentials (168.63.129.16/32)"),
        ("192.0.0.192", "is where a cloud answers with credentials (192.0.0.192/32)"),
        ("fd20:ce::254", "is where a cloud answers with credentials (fd20:ce::254/128)"),
        ("fd00:42::42", "is where a cloud answers with credentials (fd00:42::42/128)"),
        ("0.0.0.0", "is no address of a machine (0.0.0.0/8)"),
        ("::", "is no address of a machine (::/128)"),
        ("255.255.255.255", "is no address of a machine (240.0.0.0/4)"),
        ("224.0.0.1", "is multicast (224.0.0.0/4)"),
        ("ff02::1", "is multicast (ff00::/8)"),
    ],
)
def test_some_addresses_are_never_asked(address: str, message: str) -> None:
    """The message says which one it was, and why."""
    assert refusal(OPEN, address) == f"{address} {message}"
    named = f"evil.net has the address {address}, which {message}"
    assert refusal(OPEN, address, "evil.net") == named


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "fd00::1",
        "192.0.2.1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "64:ff9b::192.0.2.1",
        "64:ff9b:1::192.0.2.1",
        "2002:c000:201::1",
    ],
)
def test_loopback_and_private_networks_are_open(address: str) -> None:
    """They are the agent's usual place."""
    assert refusal(OPEN, address) is None


@pytest.mark.parametrize("embed", EMBEDDINGS.values(), ids=EMBEDDINGS)
@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "255.255.255.255"])
def test_an_address_is_known_in_every_form(address: str, embed: Callable[[int], int]) -> None:
    """Whatever on the way might translate it."""
    form = IPv6Address(embed(int(IPv4Address(address))))
    assert refusal(OPEN, str(form))


@given(st.sampled_from(NEVER), st.data(), st.sampled_from(list(EMBEDDINGS.values())))
def test_no_address_of_a_closed_network_is_asked(
    closed: tuple[str, str], data: st.DataObject, embed: Callable[[int], int]
) -> None:
    """Neither as it is nor in another form."""
    network = ip_network(closed[0])
    address = network[data.draw(st.integers(0, network.num_addresses - 1))]
    assert refusal(OPEN, str(address))
    if isinstance(address, IPv4Address) and int(address) >= 1 << 24:
        assert refusal(OPEN, str(IPv6Address(embed(int(address)))))


@pytest.mark.parametrize(
    ("rule", "host", "address"),
    [
        ("10.0.0.0/8", "a.net", "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3", "10.1.2.3"),
        ("10.0.0.0/8", "a.net", "::ffff:10.1.2.3"),
        ("10.0.0.0/8", "a.net", "64:ff9b::10.1.2.3"),
        ("::ffff:0:0/96", "a.net", "::ffff:10.1.2.3"),
        ("::1", "localhost", "::1"),
        ("a.net", "a.net", "192.0.2.1"),
        ("a.net", "A.Net.", "192.0.2.1"),
        ("*.net", "b.a.net", "192.0.2.1"),
    ],
)
def test_what_is_denied_is_not_asked(rule: str, host: str, address: str) -> None:
    """Whatever is allowed."""
    policy = EgressFilter.of(
        EgressRules(allow=("0.0.0.0/0", "::/0", host.lower()), deny=("b.org", rule))
    )
    assert str(refusal(policy, address, host)).endswith(f"is denied by the rule {ip(rule)}")


def ip(rule: str) -> str:
    try:
        return str(ip_network(rule))
    except ValueError:
        return rule


@pytest.mark.parametrize(
    ("allow", "host", "address", "allowed"),
    [
        ("a.net", "a.net", "192.0.2.1", True),
        ("a.net", "b.net", "192.0.2.1", False),
        ("a.net", "b.a.net", "192.0.2.1", False),
        ("*.a.net", "b.a.net", "192.0.2.1", True),
        ("*.a.net", "a.net", "192.0.2.1", False),
        ("*.a.net", "ba.net", "192.0.2.1", False),
        ("a.net", "192.0.2.1", "192.0.2.1", False),
        ("a.net", "a.net", "169.254.169.254", False),
        ("192.0.2.0/24", "a.net", "192.0.2.1", True),
        ("192.0.2.0/24", "a.net", "::ffff:192.0.2.1", True),
        ("192.0.2.0/24", "a.net", "64:ff9b::192.0.2.1", False),
        ("192.0.2.0/24", "a.net", "192.0.3.1", False),
        ("192.0.2.0/24", "a.net", "fd00::1", False),
        ("fe80::/10", "a.net", "fe80::1%eth0", True),
        # A rule for everything is not meant for credentials; one for nothing else is.
        ("0.0.0.0/0", "169.254.169.254", "169.254.169.254", False),
        ("169.254.0.0/15", "169.254.169.254", "169.254.169.254", False),
        ("169.254.0.0/16", "169.254.169.254", "169.254.169.254", True),
        ("169.254.169.254", "169.254.169.254", "::ffff:169.254.169.254", True),
    ],
)
def test_what_is_allowed_is_all_that_is_asked(
    allow: str, host: str, address: str, allowed: bool
) -> None:
    """Once there is a rule, nothing else is."""
    policy = EgressFilter.of(EgressRules(allow=("b.org", allow)))
    assert (refusal(policy, address, host) is None) is allowed


def test_a_name_that_cannot_be_allowed_is_not_even_looked_up() -> None:
    """A look-up is a message to whoever has the domain."""
    policy = EgressFilter.of(EgressRules(allow=("a.net",), deny=("*.org",)))
    for host, message in {
        "b.net": "b.net is not among what is allowed",
        "a.org": "a.org is denied by the rule *.org",
    }.items():
        with pytest.raises(ForbiddenError) as info:
            policy.check_name(host)
        assert str(info.value) == message
    policy.check_name("a.net")
    EgressFilter.of(EgressRules(allow=("a.net", "10.0.0.0/8"))).check_name("b.net")


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_every_address_can_be_judged(address: IPv6Address) -> None:
    """Nothing but `ForbiddenError`."""
    refusal(OPEN, str(address))
    local = IPv6Address(int(IPv6Network("64:ff9b:1::/48")[0]) | int(address) % 2**80)
    refusal(OPEN, str(local))

"""What can be set, with units: durations in seconds, sizes in bytes.

The command line fills an `AgentConfig` from options and environment; embedders
make one by hand.  Every limit of the agent stands here and nowhere else.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

import attrs

from smartmob_agent.config.egress_rules import EgressRules

__all__ = [
    "AgentConfig",
    "Cache",
    "Containment",
    "EgressRules",
    "HttpLimits",
    "OutputLimits",
    "RestartDelays",
    "Security",
    "SourceLimits",
]

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB


def _positive(_instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name}: expected a number above 0, found {value!r}")


def _not_negative(_instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{attribute.name}: expected 0 or more, found {value!r}")


@attrs.frozen(kw_only=True)
class SourceLimits:
    """How much a source archive may cost."""

    total_timeout: float = attrs.field(default=1800.0, validator=_positive)
    """Seconds for one download, redirects included."""
    idle_timeout: float = attrs.field(default=30.0, validator=_positive)
    """Seconds to connect, and between two pieces of a download."""
    redirects: int = attrs.field(default=10, validator=_not_negative)
    """Redirects that one download follows."""
    resumes: int = attrs.field(default=5, validator=_not_negative)
    """Tries in a row to go on with a download that was cut short, before its process backs off."""
    archive_bytes: int = attrs.field(default=1 * GiB, validator=_positive)
    """Bytes of a download."""
    min_free_bytes: int = attrs.field(default=256 * MiB, validator=_not_negative)
    """Bytes of the disk that sources leave free."""
    unpack_timeout: float = attrs.field(default=600.0, validator=_positive)
    """Seconds to unpack one archive."""
    unpacked_bytes: int = attrs.field(default=4 * GiB, validator=_positive)
    """Bytes of all members together, once unpacked."""
    unpacked_ratio: float = attrs.field(default=200.0, validator=_positive)
    """Bytes of all members for each byte of their archive; the first 64 MiB do not count."""
    members: int = attrs.field(default=100_000, validator=_positive)
    """Files, directories and links in one archive."""
    path_depth: int = attrs.field(default=64, validator=_positive)
    """Directories above a member, itself included."""
    path_bytes: int = attrs.field(default=1024, validator=_positive)
    """Bytes of a member's name, directories included."""
    procfile_bytes: int = attrs.field(default=64 * KiB, validator=_positive)
    """Bytes of a Procfile, which is parsed at one go."""


@attrs.frozen(kw_only=True)
class Cache:
    """How archives are kept, so that none is downloaded twice."""

    cache_dir: Path | None = None
    """Where archives are kept, which several agents may share; None keeps them in the work
    directory, and removes them with the agent."""
    cache_bytes: int = attrs.field(default=4 * GiB, validator=_positive)
    """Bytes of all archives; over it the one that was not used for longest is removed."""
    upload_timeout: float = attrs.field(default=3600.0, validator=_positive)
    """Seconds for which an upload is kept without being used."""


@attrs.frozen(kw_only=True)
class RestartDelays:
    """When a process that ended is started again: exponential, with full jitter.

    The n-th try in a row waits for a random time between 0 and
    `min(cap_delay, base_delay * factor ** (n - 1))`.
    """

    base_delay: float = attrs.field(default=1.0, validator=_positive)
    """Seconds that the first delay is at most."""
    factor: float = attrs.field(default=2.0, validator=_positive)
    """How much longer the next delay may be."""
    cap_delay: float = attrs.field(default=60.0, validator=_positive)
    """Seconds that any delay is at most."""
    steady_uptime: float = attrs.field(default=10.0, validator=_not_negative)
    """After a run of so many seconds the next start does not wait at all."""


@attrs.frozen(kw_only=True)
class OutputLimits:
    """How much output is kept, and for how long it is waited for."""

    console_bytes: int = attrs.field(default=1 * MiB, validator=_positive)
    """Output of one process that is kept in memory for its clients."""
    events_bytes: int = attrs.field(default=4 * MiB, validator=_positive)
    """Steps of all processes that are kept in memory for readers of the events."""
    line_bytes: int = attrs.field(default=64 * KiB, validator=_positive)
    """Longest line; a longer one comes in pieces of this size."""
    drain_timeout: float = attrs.field(default=1.0, validator=_not_negative)
    """Seconds to wait for the end of the output once the tree of a child is gone."""


@attrs.frozen(kw_only=True)
class HttpLimits:
    """What one client of the HTTP API may cost."""

    body_bytes: int = attrs.field(default=1 * MiB, validator=_positive)
    """Body of a request."""
    header_bytes: int = attrs.field(default=16 * KiB, validator=_positive)
    """Request line and headers."""
    header_timeout: float = attrs.field(default=10.0, validator=_positive)
    """Seconds for the headers of a request; also how long a connection may be idle."""
    body_timeout: float = attrs.field(default=30.0, validator=_positive)
    """Seconds for the body of a request, in all."""
    send_timeout: float = attrs.field(default=10.0, validator=_positive)
    """Seconds until a peer that does not read is given up."""
    graceful_timeout: float = attrs.field(default=1.5, validator=_not_negative)
    """Seconds that open requests and closing WebSockets have when the agent stops; also what a
    handler has once its client is gone, and a client to answer a close frame."""
    linger_timeout: float = attrs.field(default=2.0, validator=_positive)
    """Seconds that a client has to read an answer which came before the end of its request."""
    connections: int = attrs.field(default=1000, validator=_positive)
    """Connections in all."""
    connections_per_peer: int = attrs.field(default=500, validator=_positive)
    """Connections from one address; Unix sockets count as one."""
    message_bytes: int = attrs.field(default=4 * KiB, validator=_positive)
    """A WebSocket message from a client, who has nothing to say."""
    ping_interval: float = attrs.field(default=20.0, validator=_positive)
    """Seconds between WebSocket pings; a client has as long to answer each.  Also until an event
    stream in which nothing happens gives a sign of life."""


@attrs.frozen(kw_only=True)
class Security:
    """Who may use the HTTP API, and under which names.

    Raises `ValueError` when a key or a CA comes without a certificate.
    """

    allow_hosts: tuple[str, ...] = ()
    """Names of the agent beside its address, the loopback ones and that of `public_url`."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks whose `Forwarded` headers count; `unix` stands for Unix sockets."""
    token_file: Path | None = None
    """One token per line, mode 0600; every request must bring one of them."""
    tls_cert: Path | None = None
    """Certificate chain in PEM format; TCP sockets speak TLS then."""
    tls_key: Path | None = None
    """Its key, if not in the same file."""
    tls_client_ca: Path | None = None
    """Clients must have a certificate of this authority."""
    insecure_no_auth: bool = False
    """Allow everyone who reaches the agent to run programs by it."""
    failed_logins: int = attrs.field(default=10, validator=_positive)
    """Wrong tokens from one address in a minute; after them it has to wait."""

    def __attrs_post_init__(self) -> None:
        if self.tls_cert is None and (self.tls_key or self.tls_client_ca):
            raise ValueError("tls_key, tls_client_ca: expected a tls_cert with them, found none")
        for proxy in self.trusted_proxies:
            if proxy != "unix":
                ip_network(proxy)


@attrs.frozen(kw_only=True)
class Containment:
    """What holds the tree of a child together."""

    max_processes: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )
    """Most processes of a child (pids.max) in a cgroup that may count them; else of the whole
    user, when a child starts another (RLIMIT_NPROC, which does not bind root)."""
    isolation: Literal["pid"] | None = attrs.field(
        default=None, validator=attrs.validators.in_([None, "pid"])
    )
    """`pid` gives each child a PID namespace of its own."""
    cgroup: Path | None = None
    """A directory of cgroup v2 that was delegated to the agent: each child gets a cgroup in it."""


@attrs.frozen(kw_only=True)
class AgentConfig:
    """Everything that `serve` needs to know.

    Raises `ValueError` when a value is out of its range; the message names it.
    """

    host: str = "127.0.0.1"
    """The address to bind, or a name of it."""
    port: int = attrs.field(default=8080)
    """0 picks a free port, which `Agent.url` then tells."""
    unix: Path | None = None
    """Also serve on a Unix socket at this path, mode 0600."""
    public_url: str | None = None
    """Where clients find the agent, without a slash at the end; links begin with it."""
    work_dir: Path | None = None
    """Where sources are kept; None makes a temporary directory."""
    stop_timeout: float = attrs.field(default=10.0, validator=_not_negative)
    """Seconds from SIGTERM to SIGKILL of a tree; 0 kills at once."""
    max_start_rate: float = attrs.field(default=50.0, validator=_not_negative)
    """Most children that all processes together start in a second; 0 is no limit."""
    source: SourceLimits = attrs.field(factory=SourceLimits)
    cache: Cache = attrs.field(factory=Cache)
    egress: EgressRules = attrs.field(factory=EgressRules)
    restart: RestartDelays = attrs.field(factory=RestartDelays)
    output: OutputLimits = attrs.field(factory=OutputLimits)
    http: HttpLimits = attrs.field(factory=HttpLimits)
    security: Security = attrs.field(factory=Security)
    containment: Containment = attrs.field(factory=Containment)
    descriptors: tuple[int, ...] = ()
    """Listening sockets that were handed over, to be used in place of `host` and `port`."""

    @port.validator
    def _check_port(self, _attribute: attrs.Attribute[int], value: int) -> None:
        if not 0 <= value <= 65535:
            raise ValueError(f"port: expected 0 to 65535, found {value}")

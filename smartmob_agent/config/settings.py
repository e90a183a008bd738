"""What can be set, with units: durations in seconds, sizes in bytes.

The command line fills an `AgentConfig` from options and environment; embedders
make one by hand.  Every limit of the agent stands here and nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from smartmob_agent.config.setting import check_settings, setting
from smartmob_agent.config.types import (
    BYTES,
    BYTES_OR_0,
    COUNT,
    COUNT_OR_0,
    PATH,
    PORT,
    PORTS,
    PROCESSES,
    PROXY,
    RATE,
    RATIO,
    RULE,
    SECONDS,
    SECONDS_OR_0,
    SWITCH,
    TEXT,
    URL,
    one_of,
)

__all__ = [
    "AgentConfig",
    "BuildLimits",
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


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class SourceLimits:
    """How much a source archive may cost."""

    total_timeout: float = attrs.field(
        default=1800.0,
        metadata=setting(
            SECONDS,
            "Time for one download, redirects included.",
            section="Sources",
            option="download-timeout",
        ),
    )
    idle_timeout: float = attrs.field(
        default=30.0,
        metadata=setting(
            SECONDS,
            "Time to connect, and the longest pause within a download.",
            section="Sources",
            option="download-idle-timeout",
        ),
    )
    redirects: int = attrs.field(
        default=10,
        metadata=setting(
            COUNT_OR_0,
            "Redirects followed by one download.",
            section="Sources",
            option="download-redirects",
        ),
    )
    resumes: int = attrs.field(
        default=5,
        metadata=setting(
            COUNT_OR_0,
            "Retries in a row of a download that was cut short, before its process backs off.",
            section="Sources",
            option="download-resumes",
        ),
    )
    archive_bytes: int = attrs.field(
        default=1 * GiB,
        metadata=setting(BYTES, "Size of a downloaded or uploaded archive.", section="Sources"),
    )
    min_free_bytes: int = attrs.field(
        default=256 * MiB,
        metadata=setting(BYTES_OR_0, "Free disk space that sources must leave.", section="Sources"),
    )
    unpack_timeout: float = attrs.field(
        default=600.0,
        metadata=setting(SECONDS, "Time to unpack one archive.", section="Sources"),
    )
    unpacked_bytes: int = attrs.field(
        default=4 * GiB,
        metadata=setting(
            BYTES, "Total size of the members of an archive, once unpacked.", section="Sources"
        ),
    )
    unpacked_ratio: float = attrs.field(
        default=200.0,
        metadata=setting(
            RATIO,
            "Unpacked bytes per byte of the archive; the first 64 MiB do not count.",
            section="Sources",
        ),
    )
    members: int = attrs.field(
        default=100_000,
        metadata=setting(
            COUNT,
            "Files, directories and links in one archive.",
            section="Sources",
            option="unpacked-members",
        ),
    )
    path_depth: int = attrs.field(
        default=64,
        metadata=setting(
            COUNT, "Components in the path of a member of an archive.", section="Sources"
        ),
    )
    path_bytes: int = attrs.field(
        default=1024,
        metadata=setting(BYTES, "Length of the path of a member of an archive.", section="Sources"),
    )
    procfile_bytes: int = attrs.field(
        default=64 * KiB,
        metadata=setting(BYTES, "Size of a Procfile.", section="Sources"),
    )


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class EgressRules:
    """Where downloads may go, and each redirect of them.

    Raises `ValueError` for what is no rule.
    """

    allow: tuple[str, ...] = attrs.field(
        default=(),
        metadata=setting(
            RULE,
            "Host name, *.DOMAIN, address or network that sources may come from, and no other.  "
            "Link-local addresses and those at which clouds answer with credentials take a rule "
            "of their own, for nothing but such addresses.",
            section="Sources",
            option="source-allow",
            default_in_words="all but link-local addresses and metadata of clouds",
            many=True,
        ),
    )
    deny: tuple[str, ...] = attrs.field(
        default=(),
        metadata=setting(
            RULE,
            "Host name, *.DOMAIN, address or network that no source may come from, whatever else "
            "allows it.",
            section="Sources",
            option="source-deny",
            many=True,
        ),
    )


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class Cache:
    """How archives are kept, so that none is downloaded twice."""

    cache_dir: Path | None = attrs.field(
        default=None,
        metadata=setting(
            PATH,
            "Directory for cached archives; several agents may share it.",
            section="Cache",
            metavar="DIR",
            default_in_words="in the work directory, removed at exit",
        ),
    )
    cache_bytes: int = attrs.field(
        default=4 * GiB,
        metadata=setting(
            BYTES,
            "Total size of the cache; beyond it, the least recently used archive or build is "
            "removed.",
            section="Cache",
        ),
    )
    upload_timeout: float = attrs.field(
        default=3600.0,
        metadata=setting(SECONDS, "Time for which an unused upload is kept.", section="Cache"),
    )


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class BuildLimits:
    """Who installs what apps need, and how long that may take."""

    builders: tuple[Path, ...] = attrs.field(
        default=(),
        metadata=setting(
            PATH,
            "Directory of a builder, with the programs `detect` and `build`; it is asked before "
            "those for Python and Node.",
            section="Builds",
            option="builder",
            metavar="DIR",
            many=True,
        ),
    )
    timeout: float = attrs.field(
        default=900.0,
        metadata=setting(SECONDS, "Time for one build.", section="Builds", option="build-timeout"),
    )


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class RestartDelays:
    """When a process that ended is started again: exponential, with full jitter.

    The n-th try in a row waits for a random time between 0 and
    `min(cap_delay, base_delay * factor ** (n - 1))`.
    """

    base_delay: float = attrs.field(
        default=1.0,
        metadata=setting(
            SECONDS,
            "Upper bound of the first delay before a process is restarted.",
            section="Processes",
            option="restart-base-delay",
        ),
    )
    factor: float = attrs.field(
        default=2.0,
        metadata=setting(
            RATIO,
            "Factor by which the upper bound grows with each further restart in a row.",
            section="Processes",
            option="restart-factor",
        ),
    )
    cap_delay: float = attrs.field(
        default=60.0,
        metadata=setting(
            SECONDS,
            "Upper bound of any delay before a restart.",
            section="Processes",
            option="restart-cap-delay",
        ),
    )
    steady_uptime: float = attrs.field(
        default=10.0,
        metadata=setting(
            SECONDS_OR_0,
            "A process that ran for this long is restarted without a delay.",
            section="Processes",
            option="restart-steady-uptime",
        ),
    )


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class OutputLimits:
    """How much output is kept, and for how long it is waited for."""

    console_bytes: int = attrs.field(
        default=1 * MiB,
        metadata=setting(
            BYTES,
            "Output kept in memory for each process.",
            section="Output",
        ),
    )
    events_bytes: int = attrs.field(
        default=4 * MiB,
        metadata=setting(
            BYTES,
            "Events kept in memory, for all processes together.",
            section="Output",
        ),
    )
    log_bytes: int = attrs.field(
        default=64 * MiB,
        metadata=setting(
            BYTES,
            "Output kept in the state directory for each process; 1MiB at least.",
            section="Output",
        ),
    )
    log_total_bytes: int = attrs.field(
        default=4 * GiB,
        metadata=setting(
            BYTES,
            "Output kept in the state directory for all processes together; beyond it, that of "
            "deleted processes is removed first, then the oldest.",
            section="Output",
        ),
    )
    log_days: int = attrs.field(
        default=7,
        metadata=setting(
            COUNT,
            "Days for which output is kept in the state directory, also when its process has been "
            "deleted.",
            section="Output",
        ),
    )
    line_bytes: int = attrs.field(
        default=64 * KiB,
        metadata=setting(
            BYTES,
            "Longest line; a longer one comes in pieces of this size.",
            why_no_option="Clients rely on it.",
        ),
    )
    drain_timeout: float = attrs.field(
        default=1.0,
        metadata=setting(
            SECONDS_OR_0,
            "Time to wait for the end of the output once the tree of a child is gone.",
            why_no_option="Only what holds a pipe open outside of the tree takes it.",
        ),
    )


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class HttpLimits:
    """What one client of the HTTP API may cost."""

    body_bytes: int = attrs.field(
        default=1 * MiB,
        metadata=setting(
            BYTES,
            "Size of a request body, except for uploads.",
            section="HTTP",
            option="http-body-bytes",
        ),
    )
    header_bytes: int = attrs.field(
        default=16 * KiB,
        metadata=setting(
            BYTES,
            "Size of the request line and the headers.",
            section="HTTP",
            option="http-header-bytes",
        ),
    )
    header_timeout: float = attrs.field(
        default=10.0,
        metadata=setting(
            SECONDS,
            "Time to receive the headers of a request; also how long a connection may be idle.",
            section="HTTP",
            option="http-header-timeout",
        ),
    )
    body_timeout: float = attrs.field(
        default=30.0,
        metadata=setting(
            SECONDS,
            "Time to receive a request body, except for uploads.",
            section="HTTP",
            option="http-body-timeout",
        ),
    )
    send_timeout: float = attrs.field(
        default=10.0,
        metadata=setting(
            SECONDS,
            "Time after which a client that does not read is dropped.",
            section="HTTP",
            option="http-send-timeout",
        ),
    )
    graceful_timeout: float = attrs.field(
        default=1.5,
        metadata=setting(
            SECONDS_OR_0,
            "Time that open requests and closing WebSockets have when the agent stops; also "
            "what a handler has once its client is gone, and a client to answer a close "
            "frame.",
            why_no_option="The agent promises to end within --stop-timeout and two seconds.",
        ),
    )
    linger_timeout: float = attrs.field(
        default=2.0,
        metadata=setting(
            SECONDS,
            "Time that a client has to read an answer which came before the end of its request.",
            why_no_option="It matters to clients that were refused, and to nobody else.",
        ),
    )
    connections: int = attrs.field(
        default=1000,
        metadata=setting(
            COUNT, "Open connections in total.", section="HTTP", option="http-connections"
        ),
    )
    connections_per_peer: int = attrs.field(
        default=500,
        metadata=setting(
            COUNT,
            "Open connections from one address; all Unix sockets count as one.",
            section="HTTP",
            option="http-connections-per-peer",
        ),
    )
    message_bytes: int = attrs.field(
        default=4 * KiB,
        metadata=setting(
            BYTES,
            "Size of a WebSocket message from a client, which has nothing to say.",
            why_no_option="No client needs more.",
        ),
    )
    ping_interval: float = attrs.field(
        default=20.0,
        metadata=setting(
            SECONDS,
            "Time between WebSocket pings, and time to answer one; also between the signs of life "
            "of a quiet stream, and until the socket of a quiet client is probed.",
            section="HTTP",
        ),
    )


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class Security:
    """Who may use the HTTP API, and under which names.

    Raises `ValueError` when a key or a CA comes without a certificate.
    """

    allow_hosts: tuple[str, ...] = attrs.field(
        default=(),
        metadata=setting(
            TEXT,
            "Further host name that requests may address, besides the agent's address, the "
            "loopback names and the host of the public URL.",
            section="Access",
            option="allow-host",
            metavar="NAME",
            many=True,
        ),
    )
    trusted_proxies: tuple[str, ...] = attrs.field(
        default=(),
        metadata=setting(
            PROXY,
            "Address or network of a proxy whose Forwarded and X-Forwarded-* headers are "
            "trusted, or `unix` for Unix sockets.",
            section="Access",
            option="trusted-proxy",
            many=True,
        ),
    )
    token_file: Path | None = attrs.field(
        default=None,
        metadata=setting(
            PATH,
            "File of mode 0600 with one token per line; each request must carry one of them "
            "(Bearer).  SIGHUP reads the file again.",
            section="Access",
            metavar="FILE",
        ),
    )
    tls_cert: Path | None = attrs.field(
        default=None,
        metadata=setting(
            PATH,
            "Certificate chain (PEM); TCP sockets then speak TLS.",
            section="Access",
            metavar="FILE",
        ),
    )
    tls_key: Path | None = attrs.field(
        default=None,
        metadata=setting(
            PATH,
            "Private key of the certificate (PEM), unless the certificate file contains the key.",
            section="Access",
            metavar="FILE",
        ),
    )
    tls_client_ca: Path | None = attrs.field(
        default=None,
        metadata=setting(
            PATH,
            "Certificate authority (PEM) that must have signed the certificate of each client.",
            section="Access",
            metavar="FILE",
        ),
    )
    insecure_no_auth: bool = attrs.field(
        default=False,
        metadata=setting(
            SWITCH,
            "Allow everyone who can reach the agent to run programs through it.",
            section="Access",
        ),
    )
    failed_logins: int = attrs.field(
        default=10,
        metadata=setting(
            COUNT,
            "Wrong tokens from one address in a minute before the next wrong one gets 429.",
            section="Access",
        ),
    )

    def __attrs_post_init__(self) -> None:
        if self.tls_cert is None and (self.tls_key or self.tls_client_ca):
            raise ValueError("tls_key, tls_client_ca: expected a tls_cert with them, found none")


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class Containment:
    """What holds the tree of a child together."""

    max_processes: int | None = attrs.field(
        default=None,
        metadata=setting(
            PROCESSES,
            "Most processes and threads of a tree.  Where a cgroup counts them the kernel refuses "
            "more (pids.max); else a tree that has more is killed, and started again.",
            section="Containment",
            default_in_words="2048, or the user's hard limit; none for root",
        ),
    )
    max_user_processes: int | None = attrs.field(
        default=None,
        metadata=setting(
            PROCESSES,
            "Most processes and threads of the whole user, when a child starts another one and "
            "no cgroup counts (RLIMIT_NPROC, which does not bind root).",
            section="Containment",
            default_in_words="half of what the machine may have, or the user's hard limit",
        ),
    )
    open_files: int | None = attrs.field(
        default=None,
        metadata=setting(
            PROCESSES,
            "Soft limit of open descriptors of children, where the agent has raised its own.",
            why_no_option="children get the limit that the agent was started with.",
        ),
    )
    isolation: Literal["pid"] | None = attrs.field(
        default=None,
        metadata=setting(
            one_of("pid"),
            "`pid` gives each child a PID namespace of its own.",
            section="Containment",
        ),
    )
    cgroup: Path | None = attrs.field(
        default=None,
        metadata=setting(
            PATH,
            "Directory of cgroup v2 that was delegated to the agent: each child gets a cgroup"
            " in it.",
            section="Containment",
            metavar="DIR",
            default_in_words="the agent's own, if systemd has delegated it",
        ),
    )


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class AgentConfig:
    """Everything that `serve` needs to know.

    Raises `ValueError` when a value is out of its range; the message names it.
    """

    host: str = attrs.field(
        default="127.0.0.1",
        metadata=setting(
            TEXT,
            "Address to bind, or a host name that resolves to one.",
            section="Network",
            metavar="HOST",
        ),
    )
    port: int = attrs.field(
        default=8080,
        metadata=setting(PORT, "Port to bind; 0 picks a free one.", section="Network"),
    )
    unix: Path | None = attrs.field(
        default=None,
        metadata=setting(
            PATH,
            "Also serve on a Unix socket at this path, mode 0600, removed at exit.",
            section="Network",
        ),
    )
    public_url: str | None = attrs.field(
        default=None,
        metadata=setting(
            URL,
            "URL at which clients reach the agent; links begin with it.",
            section="Network",
            default_in_words="from each request",
        ),
    )
    work_dir: Path | None = attrs.field(
        default=None,
        metadata=setting(
            PATH,
            "Directory for sources and unpacked apps.",
            section="Processes",
            metavar="DIR",
            default_in_words="a fresh temporary directory, removed at exit",
        ),
    )
    state_dir: Path | None = attrs.field(
        default=None,
        metadata=setting(
            PATH,
            "Directory, of mode 0700, that keeps all processes over restarts of the agent.",
            section="Processes",
            metavar="DIR",
            default_in_words="none: they are forgotten",
        ),
    )
    release_timeout: float = attrs.field(
        default=600.0,
        metadata=setting(
            SECONDS, "Time for the `release` command of an app's new release.", section="Processes"
        ),
    )
    stop_timeout: float = attrs.field(
        default=10.0,
        metadata=setting(
            SECONDS_OR_0,
            "Time from SIGTERM to SIGKILL of a tree; 0 kills at once.",
            section="Processes",
        ),
    )
    max_start_rate: float = attrs.field(
        default=50.0,
        metadata=setting(
            RATE,
            "Starts of children per second, for all processes together; 0 means no limit.",
            section="Processes",
        ),
    )
    ports: tuple[int, int] = attrs.field(
        default=(20000, 29999),
        metadata=setting(
            PORTS,
            "TCP ports from which each process gets one, as PORT.",
            section="Processes",
        ),
    )
    source: SourceLimits = attrs.field(factory=SourceLimits)
    cache: Cache = attrs.field(factory=Cache)
    egress: EgressRules = attrs.field(factory=EgressRules)
    build: BuildLimits = attrs.field(factory=BuildLimits)
    restart: RestartDelays = attrs.field(factory=RestartDelays)
    output: OutputLimits = attrs.field(factory=OutputLimits)
    http: HttpLimits = attrs.field(factory=HttpLimits)
    security: Security = attrs.field(factory=Security)
    containment: Containment = attrs.field(factory=Containment)
    descriptors: tuple[int, ...] = attrs.field(
        default=(),
        metadata=setting(
            COUNT_OR_0,
            "Listening sockets that were handed over, to be used in place of `host` and `port`.",
            many=True,
            why_no_option="systemd hands sockets over in a way of its own (sd_listen_fds(3)).",
        ),
    )

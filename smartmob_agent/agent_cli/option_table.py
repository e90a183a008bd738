"""The options of the command."""

from __future__ import annotations

from collections.abc import Sequence

from smartmob_agent.agent_cli.logs import FORMATS, LEVELS
from smartmob_agent.agent_cli.source_options import SOURCE_OPTIONS
from smartmob_agent.config import types as values
from smartmob_agent.config.setting import Option
from smartmob_agent.config.settings import AgentConfig

__all__ = ["OPTIONS"]

_DEFAULTS = AgentConfig()

OPTIONS: Sequence[Option] = (
    Option(
        name="host",
        metavar="HOST",
        parse=values.text,
        default=_DEFAULTS.host,
        help="address to bind",
    ),
    Option(
        name="port",
        metavar="PORT",
        parse=values.port,
        default=_DEFAULTS.port,
        help="port to bind; 0 picks a free one",
    ),
    Option(
        name="unix",
        metavar="PATH",
        parse=values.path,
        default=_DEFAULTS.unix,
        help="also serve on a Unix socket at PATH, mode 0600, removed at exit",
    ),
    Option(
        name="public-url",
        metavar="URL",
        parse=values.public_url,
        default=_DEFAULTS.public_url,
        default_in_words="from each request",
        help="where clients find the agent: links begin with it",
    ),
    Option(
        name="work-dir",
        metavar="DIR",
        parse=values.path,
        default=_DEFAULTS.work_dir,
        default_in_words="a fresh temporary directory, removed at exit",
        help="where sources and archives are kept",
    ),
    Option(
        name="stop-timeout",
        metavar="S",
        parse=values.seconds,
        default=_DEFAULTS.stop_timeout,
        help="seconds from SIGTERM to SIGKILL of a tree",
    ),
    Option(
        name="max-start-rate",
        metavar="N",
        parse=values.rate,
        default=_DEFAULTS.max_start_rate,
        help="most children that are started in a second, of all processes; 0 is no limit",
    ),
    Option(
        name="console-bytes",
        metavar="N",
        parse=values.size,
        default=_DEFAULTS.output.console_bytes,
        help="bytes of output that are kept in memory for each process",
        group="output",
    ),
    Option(
        name="events-bytes",
        metavar="N",
        parse=values.size,
        default=_DEFAULTS.output.events_bytes,
        help="bytes of events that are kept in memory, for all processes together",
        group="output",
    ),
    *SOURCE_OPTIONS,
    Option(
        name="max-processes",
        metavar="N",
        parse=values.count,
        default=_DEFAULTS.containment.max_processes,
        default_in_words="512 more than the user runs now, or its hard limit; none for root",
        help="most processes: of a child where a cgroup counts them, else of the whole user",
        group="containment",
    ),
    Option(
        name="isolation",
        metavar="{pid}",
        parse=values.one_of("pid"),
        default=_DEFAULTS.containment.isolation,
        help="give each child a PID namespace of its own",
        group="containment",
    ),
    Option(
        name="cgroup",
        metavar="DIR",
        parse=values.path,
        default=_DEFAULTS.containment.cgroup,
        default_in_words="the agent's own, if systemd has delegated it",
        help="delegated directory of cgroup v2, in which each child gets a cgroup",
        group="containment",
    ),
    Option(
        name="allow-host",
        field="allow_hosts",
        metavar="NAME",
        parse=values.text,
        default=_DEFAULTS.security.allow_hosts,
        help="another name of the agent that requests may come under",
        group="security",
        many=True,
    ),
    Option(
        name="trusted-proxy",
        field="trusted_proxies",
        metavar="ADDRESS",
        parse=values.proxy,
        default=_DEFAULTS.security.trusted_proxies,
        help="address or network whose Forwarded and X-Forwarded-* headers count, or unix",
        group="security",
        many=True,
    ),
    Option(
        name="token-file",
        metavar="FILE",
        parse=values.path,
        default=_DEFAULTS.security.token_file,
        help="file of mode 0600 with a token per line: each request must bring one (Bearer); "
        "SIGHUP reads it again",
        group="security",
    ),
    Option(
        name="tls-cert",
        metavar="FILE",
        parse=values.path,
        default=_DEFAULTS.security.tls_cert,
        help="certificate chain (PEM): speak TLS",
        group="security",
    ),
    Option(
        name="tls-key",
        metavar="FILE",
        parse=values.path,
        default=_DEFAULTS.security.tls_key,
        help="key of the certificate (PEM)",
        group="security",
    ),
    Option(
        name="tls-client-ca",
        metavar="FILE",
        parse=values.path,
        default=_DEFAULTS.security.tls_client_ca,
        help="authority (PEM) of which clients must have a certificate",
        group="security",
    ),
    Option(
        name="insecure-no-auth",
        switch=True,
        metavar="yes|no",
        parse=values.switch,
        default=_DEFAULTS.security.insecure_no_auth,
        help="allow everyone who reaches the agent to run programs by it",
        group="security",
    ),
    Option(
        name="log-format",
        metavar="{" + ",".join(FORMATS) + "}",
        parse=values.one_of(*FORMATS),
        default="kv",
        help="one event per line on stderr",
    ),
    Option(
        name="log-level",
        metavar="LEVEL",
        parse=values.one_of(*LEVELS),
        default="info",
        help=f"least level that is logged: {', '.join(LEVELS)}",
    ),
)

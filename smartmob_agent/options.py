"""Options and environment variables of the command, and what they mean."""

from __future__ import annotations

import argparse
import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from smartmob_agent.config import AgentConfig
from smartmob_agent.logs import FORMATS, LEVELS

__all__ = ["OPTIONS", "Option", "Options", "parse_options"]


def _text(value: str) -> str:
    if not value:
        raise argparse.ArgumentTypeError("expected a value, found nothing")
    return value


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, found {value!r}")
    return int(value)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, found {value!r}")
    return seconds


def _bytes(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise argparse.ArgumentTypeError(f"expected a number of bytes above 0, found {value!r}")
    return int(value)


def _path(value: str) -> Path:
    return Path(_text(value))


def _public_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or "@" in parts.netloc:
        raise argparse.ArgumentTypeError(f"expected http(s)://HOST[:PORT][/PATH], found {value!r}")
    return value.rstrip("/")


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value.lower() not in choices:
            raise argparse.ArgumentTypeError(
                f"expected one of {', '.join(choices)}, found {value!r}"
            )
        return value.lower()

    return check


@attrs.frozen(kw_only=True)
class Option:
    """An option, and the environment variable that stands in for it.

    name: without the dashes; the variable is `SMARTMOB_` and the name in capitals.
    parse: text → value; raises `argparse.ArgumentTypeError`.
    default: the value when neither is given.
    group: the field of `AgentConfig` that has the value as one of its own fields, if any.
    """

    name: str
    metavar: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    group: str = ""

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        return f"SMARTMOB_{self.key.upper()}"

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")


_DEFAULTS = AgentConfig()

OPTIONS: Sequence[Option] = (
    Option(
        name="host",
        metavar="HOST",
        parse=_text,
        default=_DEFAULTS.host,
        help="address to bind",
    ),
    Option(
        name="port",
        metavar="PORT",
        parse=_port,
        default=_DEFAULTS.port,
        help="port to bind; 0 picks a free one",
    ),
    Option(
        name="unix",
        metavar="PATH",
        parse=_path,
        default=_DEFAULTS.unix,
        help="also serve on a Unix socket at PATH, mode 0600, removed at exit",
    ),
    Option(
        name="public-url",
        metavar="URL",
        parse=_public_url,
        default=_DEFAULTS.public_url,
        help="where clients find the agent: links begin with it",
    ),
    Option(
        name="work-dir",
        metavar="DIR",
        parse=_path,
        default=_DEFAULTS.work_dir,
        help="where sources and archives are kept",
    ),
    Option(
        name="stop-timeout",
        metavar="S",
        parse=_seconds,
        default=_DEFAULTS.stop_timeout,
        help="seconds from SIGTERM to SIGKILL of a tree",
    ),
    Option(
        name="console-bytes",
        metavar="N",
        parse=_bytes,
        default=_DEFAULTS.output.console_bytes,
        help="bytes of output that are kept in memory for each process",
        group="output",
    ),
    Option(
        name="log-format",
        metavar="{" + ",".join(FORMATS) + "}",
        parse=_one_of(*FORMATS),
        default="kv",
        help="one event per line on stderr",
    ),
    Option(
        name="log-level",
        metavar="LEVEL",
        parse=_one_of(*LEVELS),
        default="info",
        help=f"least level that is logged: {', '.join(LEVELS)}",
    ),
)

_NO_DEFAULT = {
    "unix": "none",
    "public-url": "from each request",
    "work-dir": "a fresh temporary directory, removed at exit",
}


@attrs.frozen(kw_only=True)
class Options:
    """What the command was asked for."""

    config: AgentConfig
    log_format: str
    log_level: str


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Options:
    """Read the options; one beats its variable, which beats the default.

    argv: without the program's name; None takes `sys.argv`.
    environ: a variable that is empty counts as not set.

    A bad value: prints the usage to stderr and raises `SystemExit(2)`.
    """
    parser = _make_parser()
    given = vars(parser.parse_args(argv))
    values = {option.key: _value(option, given, environ, parser) for option in OPTIONS}
    return Options(
        log_format=values.pop("log_format"),
        log_level=values.pop("log_level"),
        config=_make_config(values),
    )


def _make_config(values: dict[str, Any]) -> AgentConfig:
    """Sort values into the config and its groups."""
    groups: dict[str, dict[str, Any]] = {}
    for option in OPTIONS:
        if option.group:
            groups.setdefault(option.group, {})[option.key] = values.pop(option.key)
    inner = {
        group: attrs.evolve(getattr(_DEFAULTS, group), **fields)
        for group, fields in groups.items()
    }
    return AgentConfig(**values, **inner)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smartmob-agent",
        description="Run twelve-factor apps: a source archive in, a supervised process out.",
        epilog="Runs in the foreground until SIGINT (CTRL-C) or SIGTERM; a second signal kills.",
        allow_abbrev=False,
    )
    version = importlib.metadata.version("smartmob-agent")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    for option in OPTIONS:
        default = option.default if option.default is not None else _NO_DEFAULT[option.name]
        parser.add_argument(
            option.flag,
            metavar=option.metavar,
            type=option.parse,
            default=argparse.SUPPRESS,
            help=f"{option.help} [{option.variable}; default: {default}]",
        )
    return parser


def _value(
    option: Option,
    given: Mapping[str, Any],
    environ: Mapping[str, str],
    parser: argparse.ArgumentParser,
) -> Any:
    if option.key in given:
        return given[option.key]
    if not (text := environ.get(option.variable)):
        return option.default
    try:
        return option.parse(text)
    except argparse.ArgumentTypeError as exc:
        parser.error(f"environment variable {option.variable}: {exc}")

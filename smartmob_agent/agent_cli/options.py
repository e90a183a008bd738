"""What the command was asked for: options, environment, defaults."""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from smartmob_agent.agent_cli.option_table import OPTIONS
from smartmob_agent.config.setting import Option
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.http.exposure import check_exposure

__all__ = ["OPTIONS", "Option", "Options", "parse_options"]


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
    log_format, log_level = values.pop("log_format"), values.pop("log_level")
    try:
        config = _make_config(values)
    except ValueError as exc:
        parser.error(str(exc))
    if reason := check_exposure(config):
        parser.error(reason)
    return Options(config=config, log_format=log_format, log_level=log_level)


def _make_config(values: dict[str, Any]) -> AgentConfig:
    """Sort values into the config and its groups."""
    groups: dict[str, dict[str, Any]] = {}
    for option in OPTIONS:
        if option.group:
            groups.setdefault(option.group, {})[option.key] = values.pop(option.key)
    config = AgentConfig()
    inner = {
        group: attrs.evolve(getattr(config, group), **fields) for group, fields in groups.items()
    }
    return attrs.evolve(config, **values, **inner)


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
        more: dict[str, Any] = {"action": "append"} if option.many else {}
        if option.switch:
            more = {"nargs": "?", "const": True}
        parser.add_argument(
            option.flag,
            dest=option.key,
            metavar=option.metavar,
            type=option.parse,
            default=argparse.SUPPRESS,
            help=f"{option.help} [{option.variable}; default: {option.shown_default}]",
            **more,
        )
    return parser


def _value(
    option: Option,
    given: Mapping[str, Any],
    environ: Mapping[str, str],
    parser: argparse.ArgumentParser,
) -> Any:
    if option.key in given:
        value = given[option.key]
        return tuple(value) if option.many else value
    if not (text := environ.get(option.variable)):
        return option.default
    try:
        if option.many:
            return tuple(option.parse(part.strip()) for part in text.split(","))
        return option.parse(text)
    except argparse.ArgumentTypeError as exc:
        parser.error(f"environment variable {option.variable}: {exc}")

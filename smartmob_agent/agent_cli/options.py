"""What the command was asked for: options and environment, made of the settings by click."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import attrs
import click
from click.core import ParameterSource

from smartmob_agent.config.setting import Setting, check_settings, setting, settings_of
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.config.types import SWITCH, one_of
from smartmob_agent.http.exposure import check_exposure

__all__ = ["LOG_FORMATS", "LOG_LEVELS", "OPTIONS", "LogOptions", "Options", "parse_options"]

LOG_FORMATS = ("kv", "json")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:  # Only newer releases of click let it be subscripted.
    _ParamType = click.ParamType

_PROGRAM = "smartmob-agent"
_USAGE_ERROR = 2
_SECTIONS = (
    "Network",
    "Access",
    "Processes",
    "Sources",
    "Cache",
    "Builds",
    "Output",
    "Containment",
    "HTTP",
    "Log",
)
"""In the order of the help."""


@attrs.frozen(kw_only=True, field_transformer=check_settings)
class LogOptions:
    """How the command logs."""

    log_format: str = attrs.field(
        default="kv",
        metadata=setting(
            one_of(*LOG_FORMATS), "Format of the log on stderr, one event per line.", section="Log"
        ),
    )
    log_level: str = attrs.field(
        default="info",
        metadata=setting(
            one_of(*LOG_LEVELS), "Lowest level that is logged.", section="Log", metavar="LEVEL"
        ),
    )


@attrs.frozen(kw_only=True)
class Options:
    """What the command was asked for.

    check_state: look at the state of an agent that does not run, instead of running one.
    """

    config: AgentConfig
    log: LogOptions
    check_state: bool = False


OPTIONS: Sequence[Setting] = sorted(
    (one for one in (*settings_of(AgentConfig), *settings_of(LogOptions, "log")) if one.has_option),
    key=lambda one: _SECTIONS.index(one.info.section),
)
"""All settings that have an option, by section."""


def parse_options(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Options:
    """Read the options; one beats its variable, which beats the default.

    argv: without the program's name; None takes `sys.argv`.
    environ: a variable that is empty counts as not set.

    `--help` and `--version` print to stdout and raise `SystemExit(0)`.  A bad value prints two
    lines to stderr and raises `SystemExit(2)`.
    """
    command = _make_command()
    try:
        arguments = sys.argv[1:] if argv is None else list(argv)
        context = command.make_context(_PROGRAM, arguments, obj=environ)
        return _make_options(context.params)
    except click.exceptions.Exit as end:
        raise SystemExit(end.exit_code) from None
    except (click.UsageError, ValueError) as error:
        click.echo(f"Usage: {_PROGRAM} [OPTIONS]; {_PROGRAM} --help lists them.", err=True)
        click.echo(f"{_PROGRAM}: {_describe(error)}", err=True)
        raise SystemExit(_USAGE_ERROR) from None


def _make_options(params: Mapping[str, Any]) -> Options:
    """Sort values into the config and its groups; raises `ValueError`."""
    groups: dict[str, dict[str, Any]] = {"": {}, "log": {}}
    for one in OPTIONS:
        if (value := params[one.key]) is not None:
            groups.setdefault(one.group, {})[one.field] = value
    own, log = groups.pop(""), LogOptions(**groups.pop("log"))
    config = AgentConfig()
    inner = {
        group: attrs.evolve(getattr(config, group), **fields) for group, fields in groups.items()
    }
    config = attrs.evolve(config, **own, **inner)
    if reason := check_exposure(config):
        raise ValueError(reason)
    if params["check_state"] and config.state_dir is None:
        raise ValueError("--check-state: expected a --state-dir with it, found none")
    return Options(config=config, log=log, check_state=params["check_state"])


def _describe(error: Exception) -> str:
    """Say in one line what is wrong, and where."""
    if not isinstance(error, click.BadParameter) or not isinstance(error.param, _Option):
        return error.format_message() if isinstance(error, click.UsageError) else str(error)
    one = error.param.setting
    source = error.ctx.get_parameter_source(one.key) if error.ctx else None
    is_variable = source is ParameterSource.ENVIRONMENT
    where = f"environment variable {one.variable}" if is_variable else one.flag
    return f"{where}: {error.message}"


class _Type(_ParamType):
    """A type of settings, as click wants it."""

    def __init__(self, one: Setting) -> None:
        self._read = one.info.type.read
        self.name = one.info.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._read(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [part.strip() for part in rv.split(",")]


class _Option(click.Option):
    """An option made of a setting; its variable is that of the mapping which was given."""

    def __init__(self, one: Setting) -> None:
        is_switch = one.info.type is SWITCH  # its value may be left out
        more: dict[str, Any] = {"is_flag": False, "flag_value": "yes"} if is_switch else {}
        super().__init__(
            [one.flag, one.key],
            type=_Type(one),
            metavar=f"[{one.info.metavar}]" if more else one.info.metavar,
            multiple=one.info.many,
            envvar=one.variable,
            help=f"{one.info.help}  [{one.variable}; default: {one.shown_default}]",
            **more,
        )
        self.setting = one

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        variables: Mapping[str, str] = ctx.obj
        return variables.get(self.setting.variable) or None

    def consume_value(
        self, ctx: click.Context, opts: Mapping[str, Any]
    ) -> tuple[Any, ParameterSource]:
        value, source = super().consume_value(ctx, opts)
        # What nobody has said is left to the config.
        return (None if source is ParameterSource.DEFAULT else value), source


class _Command(click.Command):
    """Its help has sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [param for param in self.get_params(ctx) if isinstance(param, _Option)]
        for section, members in groupby(options, key=lambda one: one.setting.info.section):
            with formatter.section(section):
                formatter.write_dl([row for one in members if (row := one.get_help_record(ctx))])
        others = [param for param in self.get_params(ctx) if not isinstance(param, _Option)]
        with formatter.section("Other"):
            formatter.write_dl([row for one in others if (row := one.get_help_record(ctx))])


def _make_command() -> click.Command:
    return _Command(
        _PROGRAM,
        params=[
            *map(_Option, OPTIONS),
            click.Option(
                ["--check-state"],
                is_flag=True,
                help="Check the --state-dir of an agent that does not run, and exit.",
            ),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Print the version and exit.",
            ),
        ],
        context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
        help="Run twelve-factor apps: a source archive in, a supervised process out.\n\n"
        "Sizes take KiB, MiB, GiB and TiB, times ms, s, m, h and d; plain numbers are bytes and "
        "seconds.  An option beats its environment variable.",
        epilog="Runs in the foreground until SIGINT (CTRL-C) or SIGTERM.  Another one, a second "
        "or more later, kills all processes at once.",
    )


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        # Nothing else needs it, and to load it takes a sixth of the time of the help.
        from importlib.metadata import version

        click.echo(f"{_PROGRAM} {version('smartmob-agent')}")
        ctx.exit()

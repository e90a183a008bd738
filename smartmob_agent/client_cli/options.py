"""Options and arguments that several subcommands share, and their types."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from smartmob_agent.client_cli.completion import complete_agent, complete_app, complete_slug

__all__ = [
    "MAX_LINES",
    "Duration",
    "agent_options",
    "app_argument",
    "slug_argument",
    "slugs_argument",
    "wait_option",
]

MAX_LINES = 10**18 - 1
"""The largest number that the agent accepts."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Unit → seconds."""

_agent = click.option(
    "-a",
    "--agent",
    "agents",
    multiple=True,
    metavar="AGENT",
    help="URL (http, https, unix:PATH) or name of the agent.",
    shell_complete=complete_agent,
)
_token = click.option(
    "--token-file", type=click.Path(), metavar="FILE", help="File with the token."
)
_json = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
app_argument = click.argument("app", shell_complete=complete_app)
wait_option = click.option(
    "--wait/--no-wait", default=True, help="Follow it to its end.  [default: --wait]"
)
slug_argument = click.argument("slug", shell_complete=complete_slug)


def slugs_argument(*, metavar: str = "SLUG...", required: bool = False) -> Callable[..., Any]:
    """Add an argument for any number of slugs; for one or more if it is required."""
    return click.argument(
        "slugs", nargs=-1, metavar=metavar, required=required, shell_complete=complete_slug
    )


def agent_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--agent`, `--token-file` and `--json`: `agents`, `token_file` and `as_json`."""
    return _agent(_token(_json(function)))


class Duration(click.FloatRange):
    """Seconds, or a number with a unit: `90`, `90s`, `5m`, `1h`; `inf` is valid, `nan` is not."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, str):
            value = self._seconds(value, param, ctx)
        seconds: float = super().convert(value, param, ctx)
        return seconds

    def _seconds(self, text: str, param: Any, ctx: Any) -> float:
        unit = _SECONDS.get(text[-1:])
        try:
            seconds = float(text if unit is None else text[:-1]) * (unit or 1)
        except ValueError:
            seconds = math.nan
        if math.isnan(seconds):
            self.fail(f"{text!r} is not a duration, such as 90, 90s, 5m or 1h", param, ctx)
        return seconds

"""What several commands take, in the terms of click."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from smartmob_agent.client_cli.asking import complete_agent, complete_slug

__all__ = ["MOST_LINES", "Seconds", "addressed", "slug_", "slugs_"]

MOST_LINES = 10**18 - 1
"""What the agent takes for a number."""

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
    "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="File with the token."
)
_json = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
slug_ = click.argument("slug", shell_complete=complete_slug)


def slugs_(*, metavar: str = "SLUG...", required: bool = False) -> Callable[..., Any]:
    """Take slugs; at least one if it is required."""
    return click.argument(
        "slugs", nargs=-1, metavar=metavar, required=required, shell_complete=complete_slug
    )


def addressed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which agent is meant, and how it answers."""
    return _agent(_token(_json(function)))


class Seconds(click.FloatRange):
    """A number of seconds; `inf` is one, `nan` is none."""

    name = "seconds"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds

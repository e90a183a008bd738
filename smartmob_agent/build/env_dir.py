"""The files in the ENV_DIR of a build: variables of the child.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from smartmob_agent.errors import BuildError
from smartmob_agent.source.app.assignments import VARIABLE_NAME
from smartmob_agent.source.app.environment import BuildEnvironment

__all__ = ["parse_env_files", "place_environment"]

_NAME = re.compile(rf"({VARIABLE_NAME.pattern})(\.prepend)?")
_APP_DIR = "$APP_DIR"


def parse_env_files(files: Mapping[str, bytes]) -> BuildEnvironment:
    """Read files: `NAME` sets a variable, `NAME.prepend` goes in front of its value.

    One line end at the end of a file is no part of the value.

    Raises `BuildError`.
    """
    values: dict[str, str] = {}
    prepended: dict[str, str] = {}
    for name, content in files.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise BuildError(f"ENV_DIR: expected files NAME and NAME.prepend, found {name!a}")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise BuildError(f"ENV_DIR: {name}: expected UTF-8") from exc
        if "\0" in text:
            raise BuildError(f"ENV_DIR: {name}: expected a value without NUL")
        (prepended if match[2] else values)[match[1]] = text.removesuffix("\n")
    return BuildEnvironment(values=values, prepended=prepended)


def place_environment(env: BuildEnvironment, app_dir: str) -> BuildEnvironment:
    """Put the root of an app in place of the text `$APP_DIR`."""
    return BuildEnvironment(
        values={name: text.replace(_APP_DIR, app_dir) for name, text in env.values.items()},
        prepended={name: text.replace(_APP_DIR, app_dir) for name, text in env.prepended.items()},
    )

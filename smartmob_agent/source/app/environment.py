"""The environment of a child.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["child_environment"]

INHERITED = frozenset(
    {"HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"},
)
INHERITED_PREFIX = "LC_"

# With a pipe Python buffers up to 8 KiB of output, but a console should be live.
DEFAULTS = {"PYTHONUNBUFFERED": "1"}


def child_environment(
    agent_env: Mapping[str, str],
    assignments: Mapping[str, str],
    request_env: Mapping[str, str],
) -> dict[str, str]:
    """Make the whole environment of a child: variable name → value, later wins.

    agent_env: of the agent; only a few variables that programs rely on are inherited, so that no
    secret of the operator reaches an app.
    assignments: before the command in the Procfile.
    request_env: of the create request.
    """
    inherited = {
        name: value
        for name, value in agent_env.items()
        if name in INHERITED or name.startswith(INHERITED_PREFIX)
    }
    return {**inherited, **DEFAULTS, **assignments, **request_env}

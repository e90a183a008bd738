"""The environment of a child.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["BuildEnvironment", "child_environment"]

INHERITED = frozenset(
    {"HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"},
)
INHERITED_PREFIX = "LC_"

# With a pipe Python buffers up to 8 KiB of output, but a console should be live.
DEFAULTS = {"PYTHONUNBUFFERED": "1"}


@attrs.frozen(kw_only=True)
class BuildEnvironment:
    """What a build wants of the environment.

    values: variable name → value.
    prepended: variable name → what goes in front of its value, with a colon between them.
    """

    values: Mapping[str, str] = attrs.field(factory=dict)
    prepended: Mapping[str, str] = attrs.field(factory=dict)

    def applied(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return a copy of an environment, changed."""
        changed = {**env, **self.values}
        for name, value in self.prepended.items():
            old = changed.get(name)
            changed[name] = f"{value}:{old}" if old else value
        return changed


_NO_BUILD = BuildEnvironment()


def child_environment(
    agent_env: Mapping[str, str],
    assignments: Mapping[str, str],
    request_env: Mapping[str, str],
    *,
    build: BuildEnvironment = _NO_BUILD,
) -> dict[str, str]:
    """Make the whole environment of a child: variable name → value, later wins.

    agent_env: of the agent; only a few variables that programs rely on are inherited, so that no
    secret of the operator reaches an app.
    assignments: before the command in the Procfile.
    request_env: of the create request.
    build: what the build of the app wants.
    """
    inherited = {
        name: value
        for name, value in agent_env.items()
        if name in INHERITED or name.startswith(INHERITED_PREFIX)
    }
    return {**build.applied({**inherited, **DEFAULTS}), **assignments, **request_env}

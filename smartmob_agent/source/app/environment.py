"""The environment of a child.  Pure."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping

import attrs

__all__ = ["BuildEnvironment", "check_exec_size", "child_environment"]

INHERITED = frozenset({"LANG", "LOGNAME", "PATH", "SHELL", "TZ", "USER"})
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
    secret of the operator reaches an app, nor a directory that apps would share.
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


STRING_BYTES = 131_072
"""Of one argument or variable with its name: MAX_ARG_STRLEN of Linux, 32 pages (execve(2))."""

_LEAST_BYTES, _MOST_BYTES = 131_072, 6 * 1024 * 1024
"""Between these is a quarter of the stack that a program may have: execve(2)."""

_RESERVED_BYTES = 65_536
"""For what is not the client's: variables of the agent, of the app and of its build."""

_POINTER_BYTES = 8


def check_exec_size(command: str, env: Mapping[str, str]) -> Iterator[tuple[str | None, str]]:
    """Find what the kernel would not take when a command is executed.

    env: of the create request.

    Returns pairs: the name of the variable, None for the command or all together; what is wrong.
    """
    sizes = {name: len(f"{name}={value}".encode()) + 1 for name, value in env.items()}
    for name, size in sizes.items():
        if size > STRING_BYTES:
            yield name, _too_long("a variable, with its name,", STRING_BYTES, size)
    size = len(command.encode()) + 1
    if size > STRING_BYTES:
        yield None, _too_long("a command", STRING_BYTES, size)
    total = size + sum(sizes.values()) + _POINTER_BYTES * len(sizes)
    limit = _exec_bytes() - _RESERVED_BYTES
    if total > limit:
        yield None, _too_long("command and variables together", limit, total)


def _too_long(what: str, limit: int, found: int) -> str:
    why = "Linux starts no program with more"
    return f"expected {what} of at most {limit:,} bytes, found {found:,}: {why}"


def _exec_bytes() -> int:
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    quarter = _MOST_BYTES if stack == resource.RLIM_INFINITY else stack // 4
    return max(_LEAST_BYTES, min(quarter, _MOST_BYTES))

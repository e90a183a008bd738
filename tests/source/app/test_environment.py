"""The environment of a child."""

from __future__ import annotations

from smartmob_agent.source.app.environment import child_environment


def test_only_what_a_program_needs_is_inherited() -> None:
    """The agent's secrets do not reach an app."""
    names = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LC_ALL",
        "LC_TIME",
        "TZ",
        "TMPDIR",
    ]
    agent_env = dict.fromkeys([*names, "TOKEN", "LC", "PATHS", "SMARTMOB_PORT"], "x")
    expected = {**dict.fromkeys(names, "x"), "PYTHONUNBUFFERED": "1"}
    assert child_environment(agent_env, {}, {}) == expected


def test_the_request_wins_over_the_procfile_over_the_agent() -> None:
    """Later wins, and each may replace what the agent sets by itself."""
    env = child_environment(
        {"PATH": "agent", "HOME": "agent", "TZ": "agent"},
        {"HOME": "procfile", "TZ": "procfile", "PYTHONUNBUFFERED": ""},
        {"TZ": "request"},
    )
    assert env == {"PATH": "agent", "HOME": "procfile", "TZ": "request", "PYTHONUNBUFFERED": ""}

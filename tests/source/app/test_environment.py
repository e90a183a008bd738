"""The environment of a child."""

from __future__ import annotations

from smartmob_agent.source.app.environment import check_exec_size, child_environment


def test_only_what_a_program_needs_is_inherited() -> None:
    """The agent's secrets do not reach an app."""
    names = [
        "PATH",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LC_ALL",
        "LC_TIME",
        "TZ",
    ]
    agent_env = dict.fromkeys(
        [*names, "TOKEN", "HOME", "TMPDIR", "LC", "PATHS", "SMARTMOB_PORT"], "x"
    )
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


def errors(command: str = "", **env: str) -> list[tuple[str | None, str]]:
    return list(check_exec_size(command, env))


def test_what_the_kernel_takes_is_no_error() -> None:
    assert errors("x" * 131_071, A="x" * (131_072 - 3)) == []


def test_a_variable_that_is_too_long_is_named() -> None:
    """In bytes, with its name and the end of the string."""
    [(name, error)] = errors(A="ü" * 65_535)
    assert name == "A"
    assert error.startswith("expected a variable, with its name, of at most 131,072 bytes, found")
    assert error.endswith("131,073: Linux starts no program with more")


def test_a_command_that_is_too_long_is_told() -> None:
    [(name, error)] = errors("x" * 131_072)
    assert name is None
    assert "a command of at most 131,072 bytes, found 131,073" in error


def test_all_together_may_be_too_long() -> None:
    [(name, error)] = errors(**{f"A{number}": "x" * 100_000 for number in range(70)})
    assert name is None
    assert error.startswith("expected command and variables together of at most")

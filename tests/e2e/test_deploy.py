"""The files under deploy/."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from smartmob_agent.agent_cli.options import parse_options

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
@pytest.mark.slow
def test_systemd_accepts_the_unit() -> None:
    argv = ["systemd-analyze", "verify", str(DEPLOY / "smartmob-agent.service")]
    process = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")


def setting(file: str, name: str, separator: str) -> str:
    """The value of the only line of a file that begins with that name."""
    lines = (DEPLOY / file).read_text().splitlines()
    (value,) = (
        line.removeprefix(name + separator) for line in lines if line.startswith(name + separator)
    )
    return value


def test_the_unit_gives_options_that_there_are() -> None:
    env, command, *options = shlex.split(setting("smartmob-agent.service", "ExecStart", "="))
    assert (env, command) == ("/usr/bin/env", "smartmob-agent")
    config = parse_options(options, {}).config
    assert config.work_dir == Path("%S/smartmob-agent/work")
    assert config.state_dir == Path("%S/smartmob-agent/state")
    assert setting("smartmob-agent.service", "StateDirectoryMode", "=") == "0700"


def test_the_unit_leaves_more_time_than_the_agent_takes() -> None:
    """Else systemd would kill what the agent is about to end."""
    patience = float(setting("smartmob-agent.service", "TimeoutStopSec", "="))
    assert patience > parse_options([], {}).config.stop_timeout + 10


def test_the_container_gives_options_that_there_are() -> None:
    assert json.loads(setting("Containerfile", "ENTRYPOINT", " ")) == ["smartmob-agent"]
    config = parse_options(json.loads(setting("Containerfile", "CMD", " ")), {}).config
    assert config.host == "0.0.0.0"
    assert config.security.token_file == Path("/run/smartmob-tokens")
    volume = Path(setting("Containerfile", "VOLUME", " "))
    assert (config.work_dir, config.state_dir) == (volume / "work", volume / "state")


def test_the_container_gets_its_signals_and_is_no_root() -> None:
    assert setting("Containerfile", "STOPSIGNAL", " ") == "SIGTERM"
    assert setting("Containerfile", "USER", " ") != "root"

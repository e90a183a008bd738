"""SIGKILL takes nothing that was acknowledged, and leaves nothing half."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.state.stores import read

WRITER = Path(__file__).with_name("writer.py")
KILLS = 30


class Model:
    """What was acknowledged, and what may be there all the same.

    kept: name → number.
    asked: name → number or None, of the change that was not acknowledged.
    """

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.asked: dict[str, int | None] = {}

    def hear(self, line: str) -> None:
        name, _, what = line.partition(" ")
        if what:
            self.asked[name] = None if what == "-" else int(what)
        else:
            self._keep(name)

    def _keep(self, name: str) -> None:
        number = self.asked.pop(name)
        self.kept.pop(name, None)
        if number is not None:
            self.kept[name] = number

    def compare(self, found: dict[str, int]) -> None:
        for name in [*self.asked]:
            if found.get(name) == self.asked[name]:
                self._keep(name)
        self.asked.clear()
        assert found == self.kept


@pytest.mark.slow
def test_what_was_acknowledged_is_there_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    model, choose = Model(), random.Random(16)
    for seed in range(KILLS):
        # The log is brought to the file every thousand pages: that is to be hit, too.
        lines = choose.randrange(1, 300) if seed % 5 else 2000
        with subprocess.Popen(
            [sys.executable, WRITER, tmp_path / "state", str(seed)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                model.hear(writer.stdout.readline().decode().rstrip("\n"))
            writer.kill()
            for line in writer.stdout:
                model.hear(line.decode().rstrip("\n"))
        numbers = {}
        for document in read(tmp_path / "state").documents:
            number = document.value["n"]
            assert isinstance(number, int)
            numbers[document.key[1]] = number
        model.compare(numbers)


FIRST_START = """
import os, signal, sys
from pathlib import Path
from smartmob_agent.state import database
from smartmob_agent.state.schema import SCHEMA

left, connect = int(sys.argv[2]), database.connect

def step(_statement):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

def traced(path, options):
    connection = connect(path, options)
    connection.set_trace_callback(step)
    return connection

database.connect = traced
database.open_database(Path(sys.argv[1]), SCHEMA)
"""


@pytest.mark.slow
def test_a_first_start_that_is_killed_leaves_nothing_half(tmp_path: Path) -> None:
    """Before each of its statements: the next start begins again, or has a whole file."""
    for statement in range(1, 30):
        directory = tmp_path / str(statement)
        command = [sys.executable, "-c", FIRST_START, str(directory), str(statement)]
        code = subprocess.run(command, check=False).returncode
        assert read(directory).documents == ()
        if not code:
            break
        assert code == -signal.SIGKILL
    assert statement > 8

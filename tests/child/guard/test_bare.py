"""What the guard uses instead of larger modules, and that it gets along without those."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smartmob_agent.child import guard
from smartmob_agent.child.guard.bare import open_pair, suppress

LARGE = {
    "collections",
    "contextlib",
    "enum",
    "functools",
    "json",
    "re",
    "signal",
    "socket",
    "typing",
}


def test_a_pair_is_connected_and_closed_after_the_block() -> None:
    ours, theirs = open_pair()
    with theirs:
        with ours:
            ours.sendall(b"word")
            assert not os.get_inheritable(ours.fileno())
        assert ours.fileno() == -1
        assert theirs.recv(10) == b"word"
        assert theirs.recv(10) == b""


def test_only_errors_that_are_named_are_suppressed() -> None:
    with suppress(KeyError, OSError):
        raise FileNotFoundError
    with suppress(KeyError):
        pass
    with pytest.raises(KeyError), suppress(OSError):
        raise KeyError


def test_the_guard_needs_no_large_modules() -> None:
    """A shim is a copy of the zygote, so what that has imported costs each process memory."""
    package = Path(guard.__file__).parent
    program = f"import sys; sys.path.append({str(package.parent)!r}); import guard.zygote"
    argv = [sys.executable, "-ISE", "-c", f"{program}; print(*sys.modules)"]
    imported = set(subprocess.run(argv, check=True, capture_output=True).stdout.decode().split())
    assert "guard.shim" in imported
    assert imported & LARGE == set()

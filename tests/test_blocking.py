"""The tool that finds blocking calls finds planted ones."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from smartmob_agent.config.settings import Security
from smartmob_agent.http.tls import open_tls
from smartmob_agent.metrics.proc import Proc
from tests.blocking import PACKAGE, watch_blocking_calls


def planted(code: str, place: str = "planted.py") -> Callable[..., Any]:
    """Return a function `call` as if it stood in a module of the package."""
    names: dict[str, Any] = {}
    exec(compile(code, f"{PACKAGE}/{place}", "exec"), names)
    call: Callable[..., Any] = names["call"]
    return call


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import os\ndef call(path): os.stat(path)", "stat by planted.py:call"),
        ("def call(path): open(path).close()", "open by planted.py:call"),
        ("def call(path): path.exists()", "stat by planted.py:call"),
        ("def call(path): path.read_bytes()", "open by planted.py:call"),
        ("import time\ndef call(_): time.sleep(0)", "sleep by planted.py:call"),
        ("import socket\ndef call(_): socket.getaddrinfo('127.0.0.1', 1)", "getaddrinfo by "),
        (
            "import subprocess\ndef call(_): subprocess.run(['true'])",
            "fork_exec by planted.py:call",
        ),
        ("import fcntl\ndef call(p):\n with open(p) as f: fcntl.flock(f, 8)", "flock by "),
        ("class A:\n def b(self, p): p.lstat()\ncall = A().b", "stat by planted.py:A.b"),
    ],
)
async def test_a_planted_call_is_found(tmp_path: Path, code: str, found: str) -> None:
    """With the function of ours that made it, however deep below it is."""
    path = tmp_path / "file"
    path.touch()
    call = planted(code)
    with watch_blocking_calls() as calls:
        call(path)
    assert any(str(one).startswith(found) for one in calls), calls


async def test_certificates_are_files(tmp_path: Path) -> None:
    """OpenSSL opens them, where Python does not see it."""
    cert = tmp_path / "cert.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(cert)
    with watch_blocking_calls() as calls:
        open_tls(Security(tls_cert=cert))
    assert "load_cert_chain by http/tls.py:_make_context" in map(str, calls)


async def test_what_blocks_in_a_thread_or_in_a_test_is_not_found(tmp_path: Path) -> None:
    """Nor what a test does by itself, nor an import."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    call = planted("def call(path): open(path).close()")
    with watch_blocking_calls() as calls:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, call, fifo)  # stuck until it is opened
            await trio.to_thread.run_sync(partial(open_and_close, fifo))
        fifo.stat()
        planted("def call(): import this_module_is_none")
        with socket.socket():
            ssl.create_default_context()
    assert calls == []


async def test_it_is_over_at_the_end() -> None:
    with watch_blocking_calls() as calls:
        pass
    Proc().stat(os.getpid())
    assert calls == []


def open_and_close(path: Path) -> None:
    with path.open("w"):
        pass

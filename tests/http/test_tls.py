"""TLS by real sockets and files."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
import trustme

from smartmob_agent.config.settings import AgentConfig, HttpLimits, Security
from smartmob_agent.errors import StartError
from smartmob_agent.http.body_limits import Bodies
from smartmob_agent.http.listeners import open_listeners
from smartmob_agent.http.server import serve_http
from smartmob_agent.http.tls import make_tls
from tests.http.memory import Client, hello

TIME_LIMIT = 30


@attrs.frozen
class Files:
    """A certificate with its key, and the authority that made them."""

    authority: trustme.CA
    cert: Path
    key: Path
    ca: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Made once: keys take their time."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    cert, key, ca = (folder / name for name in ("cert.pem", "key.pem", "ca.pem"))
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(str(cert), append=True)
    leaf.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    return Files(authority, cert, key, ca)


async def fetch(security: Security, context: ssl.SSLContext) -> bytes:
    """Serve, and make one request."""
    stop = trio.Event()
    config = AgentConfig(port=0, security=security)
    with open_listeners(config) as listeners:
        assert listeners[0].url.startswith("https://127.0.0.1:")
        port = int(listeners[0].url.rsplit(":", 1)[1])
        async with trio.open_nursery() as nursery:
            serve = partial(
                serve_http,
                hello,
                listeners,
                limits=HttpLimits(),
                bodies=Bodies(HttpLimits()),
                stop=stop,
            )
            await nursery.start(serve)
            with trio.fail_after(TIME_LIMIT):
                body = await ask(port, context)
            stop.set()
    return body


async def ask(port: int, context: ssl.SSLContext) -> bytes:
    """Return the body of the answer; nothing if there is none."""
    stream = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", port, ssl_context=context, https_compatible=True
    )
    async with stream:
        try:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        except trio.BrokenResourceError:
            return b""
        return (await Client(stream).rest()).rpartition(b"\r\n")[2]


def context_for(files: Files) -> ssl.SSLContext:
    context = ssl.create_default_context()
    files.authority.configure_trust(context)
    return context


@pytest.mark.slow
async def test_requests_by_tls(files: Files) -> None:
    """The URL says https."""
    security = Security(tls_cert=files.cert, tls_key=files.key)
    assert await fetch(security, context_for(files)) == b"hello "


@pytest.mark.slow
async def test_a_client_needs_a_certificate_where_it_is_asked_for(files: Files) -> None:
    """One of the right authority."""
    security = Security(tls_cert=files.cert, tls_key=files.key, tls_client_ca=files.ca)
    context = context_for(files)
    assert await fetch(security, context) == b""
    files.authority.issue_cert("client.example").configure_cert(context)
    assert await fetch(security, context) == b"hello "


def test_files_that_are_no_good(files: Files, tmp_path: Path) -> None:
    """One line says which."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    for security, path in (
        (Security(tls_cert=tmp_path / "none.pem"), tmp_path / "none.pem"),
        (Security(tls_cert=garbage, tls_key=files.key), garbage),
        (Security(tls_cert=files.cert), files.cert),
        (Security(tls_cert=files.cert, tls_key=files.key, tls_client_ca=garbage), garbage),
    ):
        with pytest.raises(StartError, match=f"TLS by {path}: .+"):
            make_tls(security)


def test_a_key_with_a_password_is_refused(files: Files, tmp_path: Path) -> None:
    """Nobody is there to type it."""
    from cryptography.hazmat.primitives import serialization

    pem = files.key.read_bytes()
    key = serialization.load_pem_private_key(pem, password=None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(StartError, match="TLS by"):
        make_tls(Security(tls_cert=files.cert, tls_key=locked))

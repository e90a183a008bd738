"""TLS by real sockets and files."""

from __future__ import annotations

import contextlib
import ssl
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
import trustme

from smartmob_agent import Agent, serve
from smartmob_agent.config.settings import AgentConfig, HttpLimits, Security
from smartmob_agent.errors import StartError
from smartmob_agent.http.body_limits import Bodies
from smartmob_agent.http.listeners import open_listeners
from smartmob_agent.http.server import serve_http
from smartmob_agent.http.tls import open_tls
from smartmob_agent.testing import FakeFetcher, FakeNetwork, FakeSpawner, FakeWorkspaces
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
    async with open_listeners(config, open_tls(security)) as listeners:
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
            open_tls(security)


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
        open_tls(Security(tls_cert=files.cert, tls_key=locked))


def serial_of(context: ssl.SSLContext, authority: trustme.CA) -> int:
    """Shake hands with a server that uses a context; return the number of its certificate."""
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for end in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    certificate = client.getpeercert()
    assert certificate is not None
    return int(str(certificate["serialNumber"]), 16)


@pytest.fixture
def renewable(files: Files, tmp_path: Path) -> Files:
    """A copy that a test may write into."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(files.cert.read_bytes())
    key.write_bytes(files.key.read_bytes())
    return Files(files.authority, cert, key, files.ca)


def renew(files: Files) -> None:
    leaf = files.authority.issue_cert("127.0.0.1")
    files.key.write_bytes(leaf.private_key_pem.bytes())
    files.cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))


def test_a_renewed_certificate_is_used_by_new_connections(
    renewable: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is no good is told, and the old one stays."""
    tls = open_tls(Security(tls_cert=renewable.cert, tls_key=renewable.key))
    assert tls is not None
    first = serial_of(tls.context, renewable.authority)
    renewable.key.write_text("garbage")
    tls.reload()
    assert serial_of(tls.context, renewable.authority) == first
    assert [record.getMessage() for record in caplog.records] == ["certificate not reloaded"]
    renew(renewable)
    tls.reload()
    assert serial_of(tls.context, renewable.authority) != first


@pytest.mark.slow
async def test_a_changed_file_is_noticed(renewable: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it was missing for a while; a file that stays is not read again."""
    monkeypatch.setattr("smartmob_agent.http.tls._LOOK_INTERVAL", 0)
    tls = open_tls(Security(tls_cert=renewable.cert, tls_key=renewable.key))
    assert tls is not None
    context = tls.context
    with trio.fail_after(TIME_LIMIT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tls.watch)
            await trio.testing.wait_all_tasks_blocked()
            renewable.cert.unlink()
            renew(renewable)
            while tls.context is context:
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    tls._reload_if_changed()
    renewed = tls.context
    tls._reload_if_changed()
    assert tls.context is renewed


@pytest.mark.slow
async def test_an_agent_reloads_its_certificate(renewable: Files) -> None:
    """As the command asks it to at SIGHUP."""
    config = AgentConfig(port=0, security=Security(tls_cert=renewable.cert, tls_key=renewable.key))
    context = context_for(renewable)
    with trio.fail_after(TIME_LIMIT):
        async with trio.open_nursery() as nursery:
            agent: Agent = await nursery.start(
                partial(
                    serve,
                    config,
                    spawner=FakeSpawner(),
                    fetcher=FakeFetcher(),
                    workspaces=FakeWorkspaces(),
                    network=FakeNetwork(),
                )
            )
            port = int(agent.url.rsplit(":", 1)[1])
            serials = []
            for _ in range(2):
                stream = await trio.open_ssl_over_tcp_stream(
                    "127.0.0.1", port, ssl_context=context, https_compatible=True
                )
                async with stream:
                    await stream.do_handshake()
                    serials.append(stream.getpeercert()["serialNumber"])
                renew(renewable)
                await agent.reload()
            assert len({*serials}) == 2
            agent.stop()

"""The connections of downloads: TLS, and what is left when one is given up."""

from __future__ import annotations

import gc
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from smartmob_agent.config.settings import EgressRules, SourceLimits
from smartmob_agent.errors import TransientDownloadError
from smartmob_agent.source.download.dialer import Dial, Dialer
from smartmob_agent.source.download.egress import EgressFilter
from smartmob_agent.source.download.http_fetcher import make_fetcher
from smartmob_agent.testing import Trial, cancel_at_every_checkpoint
from tests.source.fetching import make_request
from tests.source.servers import Server, open_memory_server, respond


async def answer(stream: trio.abc.Stream, request: bytes) -> None:
    """Answer, and leave it to the other end to close the connection."""
    busy = request.startswith(b"GET /busy ")
    await stream.send_all(respond(status="503 Busy") if busy else respond(b"archive"))
    await stream.receive_some()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def open_server_of_names(
    certificate: trustme.LeafCert | None, names: list[str | None]
) -> AsyncGenerator[tuple[Server, Dial]]:
    """Serve an archive without sockets, over TLS if there is a certificate.

    names: gets those that clients ask for.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if certificate is not None:
        certificate.configure_cert(context)
    context.sni_callback = lambda _object, name, _context: names.append(name)

    async def lookup(host: str) -> list[str]:
        await trio.lowlevel.checkpoint()
        return ["192.0.2.1"]

    async with (
        open_memory_server(answer) as (server, connect_plain),
        trio.open_nursery() as nursery,
    ):

        async def connect(address: object, port: int) -> trio.abc.Stream:
            if certificate is None:
                return await connect_plain(address, port)
            server.hosts.append((str(address), port))
            await trio.lowlevel.checkpoint()
            ours, theirs = trio.testing.memory_stream_pair()
            tls = trio.SSLStream(theirs, context, server_side=True, https_compatible=True)
            nursery.start_soon(server.connection, tls)
            return ours

        dialer = Dialer(policy=EgressFilter.of(EgressRules()), lookup=lookup, connect=connect)
        yield server, dialer.dial
        nursery.cancel_scope.cancel()


async def test_tls_goes_to_the_address_and_by_the_name(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The certificate and the Host are those of the name."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    names: list[str | None] = []
    async with open_server_of_names(authority.issue_cert("a.net"), names) as (server, dial):
        fetcher = make_fetcher(SourceLimits(), dial=dial)
        await fetcher.fetch(make_request("https://a.net/", tmp_path / "a"))
        assert (server.hosts, names) == ([("192.0.2.1", 443)], ["a.net"])
        assert b"\r\nHost: a.net\r\n" in server.requests[0]
    assert (tmp_path / "a").read_bytes() == b"archive"


@pytest.mark.parametrize(
    ("name", "trusted", "reason"),
    [("a.net", False, "unable to get local issuer"), ("b.net", True, "Hostname mismatch")],
)
async def test_a_certificate_must_be_right(
    name: str,
    trusted: bool,
    reason: str,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Of a known authority, and for this name."""
    if trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with open_server_of_names(authority.issue_cert(name), []) as (server, dial):
        fetcher = make_fetcher(SourceLimits(), dial=dial)
        with pytest.raises(TransientDownloadError, match=f"no connection: .*{reason}"):
            await fetcher.fetch(make_request("https://a.net/", tmp_path / "a"))
        await trio.testing.wait_all_tasks_blocked()
        assert (server.open, server.requests) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_download_can_be_cancelled_anywhere_without_a_connection_left(
    scheme: str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Up to the head of an answer, between any two steps."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("a.net") if scheme == "https" else None

    async def download(trial: Trial) -> None:
        async with open_server_of_names(certificate, []) as (server, dial):
            fetcher = make_fetcher(SourceLimits(), dial=dial)
            fetch = partial(fetcher.fetch, make_request(f"{scheme}://a.net/busy", tmp_path))
            with trial.subject(), pytest.raises(TransientDownloadError):
                await fetch()
            await trio.testing.wait_all_tasks_blocked()
            assert server.open == 0

    assert cancel_at_every_checkpoint(download) > 10


async def _say_nothing(stream: trio.abc.Stream, said: trio.Event, done: trio.Event) -> None:
    """Take what comes and answer nothing, until the other end goes."""
    async with stream:
        while await stream.receive_some():
            said.set()
    done.set()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_download_that_is_cancelled_leaves_no_socket(scheme: str, tmp_path: Path) -> None:
    """Also in the middle of a handshake; and not only once the garbage is collected."""
    said, done = trio.Event(), trio.Event()
    fetcher = make_fetcher(SourceLimits())
    gc.collect()
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            handle = partial(_say_nothing, said=said, done=done)
            serve = partial(trio.serve_tcp, handle, 0, host="127.0.0.1")
            (listener,) = await nursery.start(serve)
            url = f"{scheme}://127.0.0.1:{listener.socket.getsockname()[1]}/"
            async with trio.open_nursery() as downloads:
                fetch = partial(fetcher.fetch, make_request(url, tmp_path / "a"))
                downloads.start_soon(fetch)
                await said.wait()
                downloads.cancel_scope.cancel()
            with trio.fail_after(10):
                await done.wait()
            nursery.cancel_scope.cancel()
    finally:
        gc.enable()

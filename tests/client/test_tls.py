"""TLS between the client and an agent, and how it fails."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import attrs
import pytest
import trio
import trustme

from smartmob_agent import AgentConfig, Security
from smartmob_agent.client import (
    NotAllowedError,
    TlsError,
    UnreachableError,
    open_client,
)
from smartmob_agent.client.dial import unreachable
from tests.client.agent import CREATE, open_world, serving
from tests.client.test_client import CALLS, SLUG, Call, ask, attach


@attrs.frozen
class Secured:
    """An agent with TLS and a token."""

    config: AgentConfig
    trust: ssl.SSLContext


TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Secured:
    folder = tmp_path_factory.mktemp("tls")
    leaf = authority.issue_cert("127.0.0.1")
    cert, key, tokens = folder / "cert.pem", folder / "key.pem", folder / "tokens"
    leaf.cert_chain_pems[0].write_to_path(str(cert))
    leaf.private_key_pem.write_to_path(str(key))
    tokens.touch(0o600)
    tokens.write_text(TOKEN)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    security = Security(tls_cert=cert, tls_key=key, token_file=tokens)
    return Secured(AgentConfig(port=0, stop_timeout=0, security=security), trust)


async def test_an_agent_is_reached_by_tls_with_a_token(secured: Secured) -> None:
    async with (
        open_world(secured.config) as world,
        open_client(world.url, token=TOKEN, tls=secured.trust) as client,
    ):
        await client.create(**CREATE)
        child = await world.spawner.next_child()
        async with client.attach(SLUG, tail=1) as lines:
            child.write(b"line\n")
            assert str(await lines.receive()) == "line"


@CALLS
async def test_without_a_token_nothing_is_allowed(call: Call, secured: Secured) -> None:
    async with (
        open_world(secured.config) as world,
        open_client(world.url, tls=secured.trust) as client,
    ):
        with pytest.raises(NotAllowedError, match="token"):
            await call(client)


@pytest.mark.parametrize("call", [ask, attach])
async def test_an_agent_that_is_not_trusted_is_told(call: Call, secured: Secured) -> None:
    async with open_world(secured.config) as world, open_client(world.url) as client:
        with pytest.raises(UnreachableError, match="its certificate is not trusted: unable to get"):
            await call(client)


@pytest.mark.parametrize("call", [ask, attach])
async def test_an_agent_without_tls_is_told(call: Call) -> None:
    async with open_world() as world, open_client(f"https{world.url[4:]}") as client:
        with pytest.raises(TlsError, match=r"it does not speak TLS$") as caught:
            await call(client)
        assert caught.value.fault == "plain"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_certificate_that_is_missing_is_told(
    version: ssl.TLSVersion, authority: trustme.CA
) -> None:
    """With TLS 1.3 behind the handshake, when the request is on its way."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, version
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    def shake_hands(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as secured:
            with suppress(ssl.SSLError):
                secured.do_handshake()
            # Without TLS from here on.  What is closed with something unread in it is reset, and
            # then its last words may be lost.
            secured.shutdown(socket.SHUT_WR)
            while secured.recv(1024):
                pass

    async def handle(stream: trio.SocketStream) -> None:
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setblocking(True)
        await trio.to_thread.run_sync(shake_hands, sock)

    async with serving(handle) as url, open_client(f"https{url[4:]}", tls=trust) as client:
        with pytest.raises(TlsError, match="it wants a certificate of its clients") as caught:
            await ask(client)
        assert caught.value.fault == "certificate"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ssl.SSLEOFError(8, "EOF"), "it closed the connection before TLS had begun"),
        (ssl.SSLError(1, "strange"), "TLS: unknown"),
    ],
)
def test_other_errors_of_tls_are_told(error: ssl.SSLError, words: str) -> None:
    """Their errno is none of the operating system."""
    assert str(unreachable("x", error)) == f"cannot reach the agent at x: {words}"

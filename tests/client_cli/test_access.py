"""The command and agents that let in only whom they know, and that are not known themselves."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
import trustme

from smartmob_agent import AgentConfig, Security
from smartmob_agent.client_cli.cli import main
from tests.client.agent import open_world


@attrs.frozen
class Files:
    """Certificates of an agent and of a client, with their keys, and who signed them."""

    ca: Path
    cert: Path
    key: Path
    client: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    ca, cert, key, client = (folder / name for name in ("ca", "cert", "key", "client"))
    leaf = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(ca))
    leaf.cert_chain_pems[0].write_to_path(str(cert))
    leaf.private_key_pem.write_to_path(str(key))
    authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(str(client))
    return Files(ca, cert, key, client)


async def test_what_keeps_tls_from_coming_about_is_said(
    files: Files,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    security = Security(tls_cert=files.cert, tls_key=files.key, tls_client_ca=files.ca)
    config = tmp_path / "config.toml"
    monkeypatch.setenv("SMARTMOB_CONFIG", str(config))
    async with open_world(AgentConfig(port=0, security=security)) as world:

        async def ask(*lines: str) -> tuple[int, str]:
            config.write_text("\n".join(["[agents.a]", f'url = "{world.url}"', *lines]))
            code = await trio.to_thread.run_sync(main, ["ps", "-a", "a"])
            return code, capsys.readouterr().err

        code, said = await ask()
        assert (code, "its certificate is not trusted: " in said) == (3, True)
        assert said.endswith("(ca_file of a named agent, or SSL_CERT_FILE, says whom to trust)\n")
        monkeypatch.setenv("SSL_CERT_FILE", str(files.ca))
        code, said = await ask()
        assert (code, " (does it want a certificate? cert_file and " in said) == (3, True)
        monkeypatch.delenv("SSL_CERT_FILE")
        assert await ask(f'ca_file = "{files.ca}"', f'cert_file = "{files.client}"') == (0, "")

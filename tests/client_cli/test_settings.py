"""Which agents are meant: options, environment, a file."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trustme

from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.settings import agent_names, config_path, find_agents

CONFIG = """
default = "local"
[agents.local]
url = "http://127.0.0.1:9000"
[agents.prod]
url = "https://agent.example"
token_file = "{token}"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What says where the file is, which is there."""
    token = tmp_path / "prod.token"
    token.write_text("# of prod\n\nprod-token  # until May\nlater-token\n")
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.format(token=token))
    return {"SMARTMOB_CONFIG": str(file)}


def found(environ: dict[str, str], *agents: str) -> list[tuple[str, str, str | None]]:
    return [(a.name, a.url, a.token) for a in find_agents(environ, agents=agents)]


def test_without_anything_it_is_the_agent_on_this_machine(tmp_path: Path) -> None:
    [agent] = find_agents({"HOME": str(tmp_path)})
    assert (agent.url, agent.token, agent.tls()) == ("http://127.0.0.1:8080", None, None)


def test_an_option_beats_the_environment_which_beats_the_file(environ: dict[str, str]) -> None:
    assert found(environ) == [("local", "http://127.0.0.1:9000", None)]
    environ["SMARTMOB_AGENT"] = "http://a, unix:b,,http://a"
    assert [name for name, _, _ in found(environ)] == ["http://a", "unix:b"]
    assert [name for name, _, _ in found(environ, "http://c")] == ["http://c"]


def test_the_token_of_an_agent_is_its_own(environ: dict[str, str]) -> None:
    """None is sent to an agent that it is not for, as far as the file says."""
    environ["SMARTMOB_TOKEN"] = "mine"
    tokens = {name: token for name, _, token in found(environ, "prod", "local")}
    assert tokens == {"prod": "prod-token", "local": "mine"}


def test_a_token_file_that_is_named_counts_for_all(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("named")
    agents = find_agents(environ, agents=["prod", "local"], token_file=file)
    assert [agent.token for agent in agents] == ["named", "named"]
    environ["SMARTMOB_TOKEN_FILE"] = str(file)
    assert found(environ, "local") == [("local", "http://127.0.0.1:9000", "named")]


def test_only_the_token_files_that_count_are_read(environ: dict[str, str]) -> None:
    environ["SMARTMOB_TOKEN_FILE"] = "/nowhere"
    assert found(environ, "prod") == [("prod", "https://agent.example", "prod-token")]
    with pytest.raises(CommandError, match="cannot read the token in /nowhere"):
        found(environ, "prod", "local")


def test_a_token_is_not_shown(environ: dict[str, str]) -> None:
    assert "prod-token" not in repr(find_agents(environ, agents=["prod"]))


def test_names_are_known(environ: dict[str, str]) -> None:
    assert agent_names(environ) == ["local", "prod"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"SMARTMOB_CONFIG": "/a/b.toml", "HOME": "/h"}, "/a/b.toml"),
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/smartmob/config.toml"),
        ({"HOME": "/h"}, "/h/.config/smartmob/config.toml"),
    ],
)
def test_the_file_is_where_it_should_be(environ: dict[str, str], expected: str) -> None:
    assert config_path(environ) == Path(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default = [", "cannot read "),
        ("default = 1\nother = 2", "unknown key @ other; expected a string @ default"),
        ("agents = 1", "expected a table @ agents"),
        ("[agents.a]\nurl = ''\nkey_file = ''", "expected cert_file beside key_file @ agents.a"),
        ("[agents]\na = 1", "expected a table with url @ agents.a"),
        (
            "[agents.a]\nurl = 1\nx = 2",
            "unknown key @ agents.a.x; expected a string @ agents.a.url",
        ),
    ],
)
def test_a_file_that_is_wrong_is_told(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(CommandError) as caught:
        find_agents({"SMARTMOB_CONFIG": str(file)})
    assert message in str(caught.value)
    assert (str(file) in str(caught.value), caught.value.code) == (True, 2)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot read .*: Is a directory"):
        find_agents({"SMARTMOB_CONFIG": str(tmp_path)})


def test_a_name_that_is_not_known_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no agent is called 'other'") as caught:
        find_agents(environ, agents=["other"])
    assert caught.value.line.endswith("(a URL has a colon; in the file: local, prod)")
    with pytest.raises(CommandError) as caught:
        find_agents({"HOME": str(tmp_path)}, agents=["other"])
    assert caught.value.hint.endswith("none is")


def test_a_token_file_without_a_token_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "token"
    empty.write_text("# nothing\n")
    with pytest.raises(CommandError, match=r"expected a token in .*, found none"):
        find_agents({}, token_file=empty)
    with pytest.raises(CommandError, match=r"cannot read the token in .*: No such file"):
        find_agents({}, token_file=tmp_path / "none")
    empty.write_bytes(b"\xff")
    with pytest.raises(CommandError, match=r"cannot read the token in .*codec"):
        find_agents({}, token_file=empty)


def test_files_for_tls_are_used(tmp_path: Path) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("client")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca_file", "cert_file", "key_file")}
    authority.cert_pem.write_to_path(str(files["ca_file"]))
    leaf.cert_chain_pems[0].write_to_path(str(files["cert_file"]))
    leaf.private_key_pem.write_to_path(str(files["key_file"]))
    config = tmp_path / "config.toml"
    lines = [f'{name} = "{path}"' for name, path in files.items()]
    config.write_text("\n".join(["[agents.a]", 'url = "https://agent"', *lines]))
    [agent] = find_agents({"SMARTMOB_CONFIG": str(config)}, agents=["a"])
    context = agent.tls()
    assert context is not None
    assert len(context.get_ca_certs()) == 1
    assert attrs.evolve(agent, cert_file=None).tls() is not None
    with pytest.raises(CommandError, match="agent a: cannot read the files for TLS: "):
        attrs.evolve(agent, ca_file=tmp_path / "none").tls()

"""Options and environment variables, as api.md's table has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartmob_agent.config import AgentConfig
from smartmob_agent.options import OPTIONS, Options, parse_options

EXAMPLES = {
    "host": ("::1", "::1"),
    "port": ("0", 0),
    "unix": ("/run/agent.sock", Path("/run/agent.sock")),
    "public-url": ("https://example.net/agent/", "https://example.net/agent"),
    "work-dir": ("work", Path("work")),
    "stop-timeout": ("2.5", 2.5),
    "log-format": ("JSON", "json"),
    "log-level": ("Debug", "debug"),
}
BAD = {
    "host": "",
    "port": "65536",
    "unix": "",
    "public-url": "ftp://x",
    "work-dir": "",
    "stop-timeout": "-1",
    "log-format": "xml",
    "log-level": "loud",
}


def value_of(options: Options, key: str) -> object:
    return getattr(options if key.startswith("log_") else options.config, key)


def test_each_option_has_an_example() -> None:
    assert {option.name for option in OPTIONS} == set(EXAMPLES) == set(BAD)


def test_without_options_there_are_the_defaults() -> None:
    assert parse_options([], {}) == Options(config=AgentConfig(), log_format="kv", log_level="info")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_is_read(option: object) -> None:
    name, key = option.name, option.key  # type: ignore[attr-defined]
    text, value = EXAMPLES[name]
    assert value_of(parse_options([f"--{name}", text], {}), key) == value


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_beats_its_variable_which_beats_the_default(option: object) -> None:
    name, key = option.name, option.key  # type: ignore[attr-defined]
    text, value = EXAMPLES[name]
    variable = {f"SMARTMOB_{key.upper()}": text}
    assert value_of(parse_options([], variable), key) == value
    other = {"host": "127.0.0.2", "port": "9", "stop-timeout": "1"}.get(name)
    if other is not None:
        assert str(value_of(parse_options([f"--{name}", other], variable), key)) in (
            other,
            f"{other}.0",
        )


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_empty_variable_counts_as_not_set(option: object) -> None:
    key = option.key  # type: ignore[attr-defined]
    assert parse_options([], {f"SMARTMOB_{key.upper()}": ""}) == parse_options([], {})


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_shows_the_usage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options([f"--{name}", BAD[name]], {})
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.err.startswith("usage: smartmob-agent ")
    assert f"argument --{name}: expected " in output.err
    assert output.out == ""


@pytest.mark.parametrize(
    ("variable", "value"), [("PORT", "x"), ("STOP_TIMEOUT", "nan"), ("STOP_TIMEOUT", "soon")]
)
def test_a_bad_variable_is_named(
    variable: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options([], {f"SMARTMOB_{variable}": value})
    assert caught.value.code == 2
    assert f"environment variable SMARTMOB_{variable}: expected " in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["http://", "http://h:99999", "http://h?q", "http://u@h", "http://[", "h", "http://h/#f"]
)
def test_a_public_url_is_one_that_links_can_begin_with(url: str) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--public-url", url], {})


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_print_and_exit(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options([flag], {"SMARTMOB_PORT": "nonsense"})
    assert caught.value.code == 0
    assert "smartmob-agent" in capsys.readouterr().out


def test_options_are_not_abbreviated() -> None:
    """An abbreviation would break when an option is added."""
    with pytest.raises(SystemExit):
        parse_options(["--po", "1"], {})

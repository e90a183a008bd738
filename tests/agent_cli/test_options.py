"""Options and environment variables, as api.md's table has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartmob_agent.agent_cli.options import OPTIONS, LogOptions, Options, parse_options
from smartmob_agent.config.setting import Setting
from smartmob_agent.config.settings import AgentConfig

EXAMPLES = {
    "host": ("::1", "::1"),  # Others need credentials.
    "port": ("0", 0),
    "ports": ("5000-5999", (5000, 5999)),
    "state-dir": ("/var/lib/x", Path("/var/lib/x")),
    "unix": ("/run/agent.sock", Path("/run/agent.sock")),
    "public-url": ("https://example.net/agent/", "https://example.net/agent"),
    "work-dir": ("work", Path("work")),
    "release-timeout": ("5m", 300.0),
    "stop-timeout": ("2.5", 2.5),
    "max-start-rate": ("0.5", 0.5),
    "console-bytes": ("65536", 65536),
    "events-bytes": ("65536", 65536),
    "log-bytes": ("16MiB", 16 * 1024 * 1024),
    "log-total-bytes": ("1GiB", 1024**3),
    "log-days": ("30", 30),
    "download-timeout": ("60", 60.0),
    "download-idle-timeout": ("0.5", 0.5),
    "download-redirects": ("0", 0),
    "download-resumes": ("0", 0),
    "source-allow": ("*.example.net", ("*.example.net",)),
    "source-deny": ("10.0.0.0/8", ("10.0.0.0/8",)),
    "archive-bytes": ("1000000", 1_000_000),
    "min-free-bytes": ("0", 0),
    "unpack-timeout": ("60", 60.0),
    "cache-dir": ("/var/cache/x", Path("/var/cache/x")),
    "cache-bytes": ("1000000", 1_000_000),
    "upload-timeout": ("60", 60.0),
    "builder": ("builders/ruby", (Path("builders/ruby"),)),
    "build-timeout": ("5m", 300.0),
    "unpacked-bytes": ("4000000", 4_000_000),
    "unpacked-ratio": ("12.5", 12.5),
    "unpacked-members": ("1000", 1000),
    "path-depth": ("8", 8),
    "path-bytes": ("255", 255),
    "procfile-bytes": ("1024", 1024),
    "max-processes": ("64", 64),
    "max-user-processes": ("640", 640),
    "isolation": ("pid", "pid"),
    "cgroup": ("/sys/fs/cgroup/agent", Path("/sys/fs/cgroup/agent")),
    "allow-host": ("agent.lan", ("agent.lan",)),
    "trusted-proxy": ("10.0.0.0/8", ("10.0.0.0/8",)),
    "token-file": ("tokens", Path("tokens")),
    "tls-cert": ("cert.pem", Path("cert.pem")),
    "tls-key": ("key.pem", Path("key.pem")),
    "tls-client-ca": ("ca.pem", Path("ca.pem")),
    "insecure-no-auth": ("Yes", True),
    "failed-logins": ("3", 3),
    "restart-base-delay": ("0.5", 0.5),
    "restart-factor": ("1.5", 1.5),
    "restart-cap-delay": ("1h", 3600.0),
    "restart-steady-uptime": ("0", 0.0),
    "http-body-bytes": ("64K", 65536),
    "http-header-bytes": ("8KiB", 8192),
    "http-header-timeout": ("500ms", 0.5),
    "http-body-timeout": ("1m", 60.0),
    "http-send-timeout": ("5", 5.0),
    "http-connections": ("10", 10),
    "http-connections-per-peer": ("5", 5),
    "ping-interval": ("30s", 30.0),
    "log-format": ("JSON", "json"),
    "log-level": ("Debug", "debug"),
}
BAD = {
    "host": "",
    "port": "65536",
    "ports": "5999-5000",
    "state-dir": "",
    "unix": "",
    "public-url": "ftp://x",
    "work-dir": "",
    "release-timeout": "-1",
    "stop-timeout": "-1",
    "max-start-rate": "fast",
    "console-bytes": "0",
    "events-bytes": "0",
    "log-bytes": "0",
    "log-total-bytes": "0",
    "log-days": "1.5",
    "download-timeout": "0",
    "download-idle-timeout": "inf",
    "download-redirects": "-1",
    "download-resumes": "x",
    "source-allow": "10.0.0.1/8",
    "source-deny": "10.0.0",
    "archive-bytes": "1e6",
    "min-free-bytes": "-1",
    "unpack-timeout": "0",
    "cache-dir": "",
    "cache-bytes": "0",
    "upload-timeout": "0",
    "builder": "",
    "build-timeout": "0",
    "unpacked-bytes": "0",
    "unpacked-ratio": "x",
    "unpacked-members": "many",
    "path-depth": "0",
    "path-bytes": "",
    "procfile-bytes": "0",
    "max-processes": "0",
    "max-user-processes": "0",
    "isolation": "total",
    "cgroup": "",
    "allow-host": "",
    "trusted-proxy": "10.0.0.1/8",
    "token-file": "",
    "tls-cert": "",
    "tls-key": "",
    "tls-client-ca": "",
    "insecure-no-auth": "maybe",
    "failed-logins": "0",
    "restart-base-delay": "0",
    "restart-factor": "twice",
    "restart-cap-delay": "1 hour",
    "restart-steady-uptime": "-1",
    "http-body-bytes": "64KB",
    "http-header-bytes": "0",
    "http-header-timeout": "0s",
    "http-body-timeout": "1w",
    "http-send-timeout": "nan",
    "http-connections": "0",
    "http-connections-per-peer": "",
    "ping-interval": "0",
    "log-format": "xml",
    "log-level": "loud",
}


def parse(option: Setting, argv: list[str], environ: dict[str, str]) -> Options:
    """Parse with what the option cannot be without."""
    if option.name in ("tls-key", "tls-client-ca"):
        argv = [*argv, "--tls-cert=cert.pem"]
    return parse_options(argv, environ)


def value_of(options: Options, option: Setting) -> object:
    if option.group == "log":
        return getattr(options.log, option.field)
    place = getattr(options.config, option.group) if option.group else options.config
    return getattr(place, option.field)


def test_each_option_has_an_example() -> None:
    assert {option.name for option in OPTIONS} == set(EXAMPLES) == set(BAD)


def test_without_options_there_are_the_defaults() -> None:
    assert parse_options([], {}) == Options(
        config=AgentConfig(), log=LogOptions(log_format="kv", log_level="info")
    )


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_is_read(option: Setting) -> None:
    text, value = EXAMPLES[option.name]
    assert value_of(parse(option, [option.flag, text], {}), option) == value


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_beats_its_variable_which_beats_the_default(option: Setting) -> None:
    text, value = EXAMPLES[option.name]
    assert option.variable == "SMARTMOB_" + option.name.upper().replace("-", "_")
    assert value_of(parse(option, [], {option.variable: text}), option) == value
    # A bad variable beside a good option shows that it is not even looked at.
    variable = {option.variable: BAD[option.name]}
    assert value_of(parse(option, [option.flag, text], variable), option) == value


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_empty_variable_counts_as_not_set(option: Setting) -> None:
    assert parse_options([], {option.variable: ""}) == parse_options([], {})


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_told_in_two_lines(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The usage, and what was expected."""
    with pytest.raises(SystemExit) as caught:
        parse_options([f"--{name}", BAD[name]], {})
    assert caught.value.code == 2
    output = capsys.readouterr()
    usage, error = output.err.splitlines()
    assert usage == "Usage: smartmob-agent [OPTIONS]; smartmob-agent --help lists them."
    assert error.startswith(f"smartmob-agent: --{name}: expected ")
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


@pytest.mark.parametrize("flag", ["-h", "--help", "--version"])
def test_help_and_version_print_and_exit(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options([flag], {"SMARTMOB_PORT": "nonsense"})
    assert caught.value.code == 0
    assert "smartmob-agent" in capsys.readouterr().out


def test_some_options_may_be_given_more_than_once() -> None:
    argv = ["--allow-host", "a.lan", "--allow-host", "b.lan"]
    assert parse_options(argv, {}).config.security.allow_hosts == ("a.lan", "b.lan")
    environ = {"SMARTMOB_ALLOW_HOST": "a.lan, b.lan"}
    assert parse_options([], environ).config.security.allow_hosts == ("a.lan", "b.lan")


@pytest.mark.parametrize(
    ("argv", "switched"),
    [
        ([], False),
        (["--insecure-no-auth"], True),
        (["--insecure-no-auth", "--host=0.0.0.0"], True),
        (["--insecure-no-auth=no"], False),
    ],
)
def test_a_switch_needs_no_value(argv: list[str], switched: bool) -> None:
    assert parse_options(argv, {}).config.security.insecure_no_auth is switched


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--tls-key=key.pem"], "expected a tls_cert with them, found none"),
        (["--host=0.0.0.0"], "expected credentials, since '0.0.0.0' can be reached"),
        (["--trusted-proxy=nobody"], "expected an IP address"),
    ],
)
def test_what_does_not_fit_together_shows_the_usage(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(argv, {})
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_trusted_proxy_may_be_the_unix_socket() -> None:
    config = parse_options(["--trusted-proxy=unix"], {}).config
    assert config.security.trusted_proxies == ("unix",)


def test_options_are_not_abbreviated() -> None:
    """An abbreviation would break when an option is added."""
    with pytest.raises(SystemExit):
        parse_options(["--po", "1"], {})


def test_the_help_has_each_option_in_its_section(capsys: pytest.CaptureFixture[str]) -> None:
    """With its variable, its default and their units."""
    with pytest.raises(SystemExit):
        parse_options(["--help"], {})
    text = capsys.readouterr().out
    sections = [line.rstrip(":") for line in text.splitlines() if line[:1].isupper()]
    expected = list(dict.fromkeys(option.info.section for option in OPTIONS))
    assert sections[1:-1] == expected  # between Usage and Other
    words = " ".join(text.split()).replace("- ", "-")
    for option in OPTIONS:
        assert f"{option.flag} " in words
        assert f"[{option.variable};" in words
    assert "default: 64KiB]" in words
    assert "default: 30m]" in words


@pytest.mark.parametrize("argv", [["extra"], ["--no-such-option"], ["--port"]])
def test_another_wrong_use_is_told_in_two_lines_too(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(argv, {})
    assert caught.value.code == 2
    usage, error = capsys.readouterr().err.splitlines()
    assert usage.startswith("Usage: ")
    assert argv[0] in error


def test_the_arguments_are_those_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["smartmob-agent", "--port", "1234"])
    assert parse_options(None, {}).config.port == 1234

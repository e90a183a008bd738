"""Which agents a command talks to, and how: options, then the environment, then a file.

Each key of `[agents.NAME]` in the file stands in `Settings` once; keys that name a file end in
`_file`.  The command's help tells the user which of them count, in the same order.
"""

from __future__ import annotations

import ssl
import tomllib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import attrs

from smartmob_agent.client_cli.failure import WRONG_USE, CommandError

__all__ = ["Settings", "agent_names", "config_path", "find_agents"]

DEFAULT_URL = "http://127.0.0.1:8080"


@attrs.frozen(kw_only=True)
class Settings:
    """One agent.

    name: the URL, or the name from the file, as the user wrote it.
    token: None sends none.
    ca_file: authorities that sign the certificate of the agent, instead of the system's.
    cert_file, key_file: the client certificate and its key.
    """

    name: str
    url: str
    token: str | None = attrs.field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def without_certificate(self) -> bool:
        """Whether an agent that requires a client certificate would get none."""
        return self.url.startswith("https:") and self.cert_file is None

    def tls(self) -> ssl.SSLContext | None:
        """Return the certificates to use, None for the system's; raises `CommandError`."""
        if self.ca_file is None and self.cert_file is None:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as exc:  # ssl.SSLError is one.
            raise _wrong(f"agent {self.name}: cannot read the files for TLS: {exc}") from exc
        return context


_FILE_KEYS = [field.name for field in attrs.fields(Settings) if field.name.endswith("_file")]
_KEYS = ["url", "token_file", *_FILE_KEYS]
"""Of a table in the file: `token` is in a file of its own."""


def config_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the file with named agents: XDG Base Directory Specification."""
    if given := environ.get("SMARTMOB_CONFIG"):
        return Path(given)
    home = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "/", ".config")
    return Path(home, "smartmob", "config.toml")


def find_agents(
    environ: Mapping[str, str],
    *,
    agents: Sequence[str] = (),
    token_file: str | PathLike[str] | None = None,
) -> list[Settings]:
    """Return the selected agents.

    agents: URLs, or names from the file; if empty, `SMARTMOB_AGENT`, then `default` of the file,
        then an agent on this machine.
    token_file: for all of them, instead of what the file and the environment say.

    Raises `CommandError`.
    """
    config = _read_config(config_path(environ))
    named: Mapping[str, Any] = config.get("agents", {})
    wanted = list(agents) or [
        part.strip() for part in environ.get("SMARTMOB_AGENT", "").split(",") if part.strip()
    ]
    if not wanted:
        wanted = [config["default"]] if "default" in config else [DEFAULT_URL]
    return [_settings(name, named, environ, token_file) for name in dict.fromkeys(wanted)]


def agent_names(environ: Mapping[str, str]) -> list[str]:
    """Return the names in the file; raises `CommandError`."""
    return sorted(_read_config(config_path(environ)).get("agents", {}))


def _settings(
    name: str,
    named: Mapping[str, Any],
    environ: Mapping[str, str],
    token_file: str | PathLike[str] | None,
) -> Settings:
    if ":" not in name and name not in named:
        known = ", ".join(sorted(named)) or "none is"
        raise _wrong(
            f"no agent is called {name!r}", hint=f"a URL has a colon; in the file: {known}"
        )
    agent = {"url": name} if ":" in name else named[name]
    files = {key: _path(agent[key]) for key in _FILE_KEYS if key in agent}
    token = _token_for(agent, environ, token_file)
    return Settings(name=name, url=agent["url"], token=token, **files)


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _token_for(
    agent: Mapping[str, str], environ: Mapping[str, str], token_file: str | PathLike[str] | None
) -> str | None:
    """Return the token for an agent; the token of another agent is never sent.

    Only the file that counts is read: the others may be unreadable or missing.
    """
    if token_file is not None:
        return _read_token(Path(token_file))
    if "token_file" in agent:
        return _read_token(_path(agent["token_file"]))
    if token := environ.get("SMARTMOB_TOKEN"):
        return token
    # The agent's own variable: a user on its machine who may read the file needs no other token.
    shared = environ.get("SMARTMOB_TOKEN_FILE")
    return _read_token(Path(shared)) if shared else None


def _read_token(path: Path) -> str:
    """Return the first token of a file; `#` starts a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        raise _wrong(f"cannot read the token in {path}: {_reason(exc)}") from exc
    for line in lines:
        if token := line.partition("#")[0].strip():
            return token
    raise _wrong(f"expected a token in {path}, found none")


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise _wrong(f"cannot read {path}: {_reason(exc)}") from exc
    if faults := list(_faults(config)):
        raise _wrong(f"{path}: {'; '.join(faults)}")
    return config


def _faults(config: Mapping[str, Any]) -> Sequence[str]:
    faults = [f"unknown key @ {key}" for key in config if key not in ("default", "agents")]
    agents = config.get("agents", {})
    if not isinstance(agents, dict):
        return [*faults, "expected a table @ agents"]
    for name, agent in agents.items():
        where = f"agents.{name}"
        if not isinstance(agent, dict) or "url" not in agent:
            faults.append(f"expected a table with url @ {where}")
            continue
        faults += [f"unknown key @ {where}.{key}" for key in agent if key not in _KEYS]
        faults += [
            f"expected a string @ {where}.{key}"
            for key in _KEYS
            if not isinstance(agent.get(key, ""), str)
        ]
        if "key_file" in agent and "cert_file" not in agent:
            faults.append(f"expected cert_file beside key_file @ {where}")
    if "default" in config and not isinstance(config["default"], str):
        faults.append("expected a string @ default")
    return faults


def _reason(exc: Exception) -> str:
    return exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)


def _wrong(message: str, *, hint: str = "") -> CommandError:
    return CommandError(message, hint=hint, code=WRONG_USE)

"""The agent in a browser."""

from __future__ import annotations

import webbrowser

from smartmob_agent.client import AddressError
from smartmob_agent.client.address import parse_address
from smartmob_agent.client_cli.failure import FAILED, explain
from smartmob_agent.client_cli.output import is_terminal, note, write_json, write_rows
from smartmob_agent.client_cli.settings import Settings

__all__ = ["browse"]


def browse(agent: Settings, *, only_print: bool, as_json: bool) -> int:
    """Write the URL of an agent; on a terminal a browser is opened too."""
    try:
        address = parse_address(agent.url)
    except AddressError as exc:
        error = explain(exc)
        note(error.line)
        return error.code
    if address.unix is not None:
        note(f"no browser reaches {agent.url}: expected an agent with http or https")
        return FAILED
    if as_json:
        write_json({"url": address.base})
        return 0
    write_rows([[address.base]])
    if is_terminal() and not only_print:
        webbrowser.open(address.base)
    return 0

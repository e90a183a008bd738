"""From the text of an option to its value, or to a message that says what was expected."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from smartmob_agent.config.egress_rules import parse_rule

__all__ = [
    "count",
    "number",
    "one_of",
    "path",
    "port",
    "positive_seconds",
    "proxy",
    "public_url",
    "rate",
    "ratio",
    "rule",
    "seconds",
    "size",
    "switch",
    "text",
]


def text(value: str) -> str:
    if not value:
        raise argparse.ArgumentTypeError("expected a value, found nothing")
    return value


def port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, found {value!r}")
    return int(value)


def rate(value: str) -> float:
    try:
        return seconds(value)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected a number, 0 or more, found {value!r}") from None


def seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, found {value!r}")
    return seconds


def positive_seconds(value: str) -> float:
    if (found := seconds(value)) == 0:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, found {value!r}")
    return found


def size(value: str) -> int:
    return _positive(value, "a number of bytes above 0")


def count(value: str) -> int:
    return _positive(value, "a number above 0")


def _positive(value: str, expected: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise argparse.ArgumentTypeError(f"expected {expected}, found {value!r}")
    return int(value)


def ratio(value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {value!r}")
    return found


def number(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a number, 0 or more, found {value!r}")
    return int(value)


def switch(value: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if value.lower() not in words:
        raise argparse.ArgumentTypeError(f"expected 1, true, yes, 0, false or no, found {value!r}")
    return words[value.lower()]


def proxy(value: str) -> str:
    try:
        return value if value == "unix" else str(ip_network(value))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected an IP address, a network without host bits or unix, found {value!r}"
        ) from None


def rule(value: str) -> str:
    try:
        parse_rule(value)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    return value


def path(value: str) -> Path:
    return Path(text(value))


def public_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or "@" in parts.netloc:
        raise argparse.ArgumentTypeError(f"expected http(s)://HOST[:PORT][/PATH], found {value!r}")
    return value.rstrip("/")


def one_of(*choices: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value.lower() not in choices:
            raise argparse.ArgumentTypeError(
                f"expected one of {', '.join(choices)}, found {value!r}"
            )
        return value.lower()

    return check

"""What the value of a setting may be: text → value, value → text, and its range.  Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from smartmob_agent.config.egress_rules import parse_rule

__all__ = [
    "BYTES",
    "BYTES_OR_0",
    "COUNT",
    "COUNT_OR_0",
    "PATH",
    "PORT",
    "PORTS",
    "PROCESSES",
    "PROXY",
    "RATE",
    "RATIO",
    "RULE",
    "SECONDS",
    "SECONDS_OR_0",
    "SWITCH",
    "TEXT",
    "URL",
    "SettingType",
    "one_of",
    "show_bytes",
    "show_seconds",
]

_SIZE_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:([KMGT])(?:iB)?|B)?")
_TIME_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|s|m|h|d)?")
_WORDS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _accept(_value: Any) -> None:
    """Take any value."""


@attrs.frozen(kw_only=True)
class SettingType:
    """What the value of a setting may be.

    metavar: stands for the value in a usage.
    read: text → value; raises `ValueError`, which says what was expected and found.
    check: raises `ValueError` for a value out of range, for programs that make a config by hand.
    show: value → text, with units; `read` takes it.
    """

    metavar: str
    read: Callable[[str], Any]
    check: Callable[[Any], None] = _accept
    show: Callable[[Any], str] = str


def show_bytes(value: int) -> str:
    """Return a size in the largest unit of which it is a whole number, such as `64KiB`."""
    for unit, size in reversed(_SIZE_UNITS.items()):
        if value and value % size == 0:
            return f"{value // size}{unit}iB"
    return f"{value}B"


def show_seconds(value: float) -> str:
    """Return a duration in the largest unit of which it is a whole number, such as `30m`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if value and value % size == 0:
            return f"{value / size:g}{unit}"
    return f"{value:g}s"


def _check_positive(value: float) -> None:
    if not value > 0:
        raise ValueError(f"expected a number above 0, found {value!r}")


def _check_not_negative(value: float) -> None:
    if not value >= 0:
        raise ValueError(f"expected 0 or more, found {value!r}")


def _parse_bytes(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError
    # In integers: a float would round what is large, and overflow.
    whole, _, fraction = match[1].partition(".")
    scaled = int(whole + fraction) * _SIZE_UNITS.get(match[2], 1)
    divisor: int = 10 ** len(fraction)
    size, rest = divmod(scaled, divisor)
    if rest:
        raise ValueError
    return size


def _parse_seconds(text: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError
    return _finite(float(match[1]) * _TIME_UNITS[match[2] or "s"])


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)


def _parse_number(text: str) -> float:
    return _finite(float(text))


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError
    return number


def _number(
    metavar: str,
    expected: str,
    parse: Callable[[str], float],
    check: Callable[[Any], None],
    show: Callable[[Any], str] = "{:g}".format,
) -> SettingType:
    """Return the type of numbers that `parse` and `check` take."""

    def read(text: str) -> float:
        try:
            value = parse(text)
            check(value)
        except ValueError:
            raise ValueError(f"expected {expected}, found {text!r}") from None
        return value

    return SettingType(metavar=metavar, read=read, check=check, show=show)


_ABOVE_0, _OR_0 = "above 0", "0 or more"
_BYTES = "a number of bytes, or of KiB, MiB, GiB or TiB such as 64MiB,"
_SECONDS = "seconds, or a time such as 500ms, 90s, 5m or 1h,"
BYTES = _number("SIZE", f"{_BYTES} {_ABOVE_0}", _parse_bytes, _check_positive, show_bytes)
BYTES_OR_0 = _number("SIZE", f"{_BYTES} {_OR_0}", _parse_bytes, _check_not_negative, show_bytes)
SECONDS = _number("TIME", f"{_SECONDS} {_ABOVE_0}", _parse_seconds, _check_positive, show_seconds)
SECONDS_OR_0 = _number(
    "TIME", f"{_SECONDS} {_OR_0}", _parse_seconds, _check_not_negative, show_seconds
)
COUNT = _number("N", f"a number {_ABOVE_0}", _parse_count, _check_positive, str)
COUNT_OR_0 = _number("N", f"a number, {_OR_0}", _parse_count, _check_not_negative, str)
RATIO = _number("N", f"a number {_ABOVE_0}", _parse_number, _check_positive)


def _between(
    metavar: str, least: int, most: int, parse: Callable[[str], float], *, or_inf: bool = False
) -> SettingType:
    """Return the type of numbers in a range.

    or_inf: programs may say `math.inf`, too.
    """

    def check(value: float) -> None:
        if not (least <= value <= most or (or_inf and value == math.inf)):
            raise ValueError(f"expected {least} to {most}, found {value!r}")

    return _number(metavar, f"{least} to {most}", parse, check, "{:.15g}".format)


_MOST_STARTS = 1_000_000
"""A second.  Each one is remembered, and takes about a millisecond to make."""

_MOST_PROCESSES = 2**22
"""PID_MAX_LIMIT of Linux: there are no more numbers for them (proc_sys_kernel(5))."""

PORT = _between("PORT", 0, 65535, _parse_count)
PROCESSES = _between("N", 1, _MOST_PROCESSES, _parse_count)
RATE = _between("N", 0, _MOST_STARTS, _parse_number, or_inf=True)


def _check_ports(value: tuple[int, int]) -> None:
    first, last = value
    if not 1 <= first <= last <= 65535:
        raise ValueError(f"expected ports from 1 to 65535, found {first}-{last}")


def _read_ports(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        value = _parse_count(first), _parse_count(last if dash else first)
        _check_ports(value)
    except ValueError:
        raise ValueError(
            f"expected FIRST-LAST, two ports from 1 to 65535, found {text!r}"
        ) from None
    return value


PORTS = SettingType(
    metavar="FIRST-LAST", read=_read_ports, check=_check_ports, show="{0[0]}-{0[1]}".format
)


def _check_text(value: str) -> None:
    if not value:
        raise ValueError("expected a value, found nothing")


def _read_text(text: str) -> str:
    _check_text(text)
    return text


TEXT = SettingType(metavar="TEXT", read=_read_text, check=_check_text)
PATH = SettingType(metavar="PATH", read=lambda text: Path(_read_text(text)))


def _read_switch(text: str) -> bool:
    if text.lower() not in _WORDS:
        raise ValueError(f"expected 1, true, yes, 0, false or no, found {text!r}")
    return _WORDS[text.lower()]


SWITCH = SettingType(
    metavar="yes|no", read=_read_switch, show=lambda value: "yes" if value else "no"
)


def _read_proxy(text: str) -> str:
    try:
        return text if text == "unix" else str(ip_network(text))
    except ValueError:
        raise ValueError(
            f"expected an IP address, a network without host bits or unix, found {text!r}"
        ) from None


def _check_proxy(value: str) -> None:
    _read_proxy(value)


PROXY = SettingType(metavar="ADDRESS", read=_read_proxy, check=_check_proxy)


def _read_rule(text: str) -> str:
    parse_rule(text)
    return text


def _check_rule(value: str) -> None:
    parse_rule(value)


RULE = SettingType(metavar="RULE", read=_read_rule, check=_check_rule)


def _read_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"expected http(s)://HOST[:PORT][/PATH], found {text!r}")
    return text.rstrip("/")


def _check_url(value: str) -> None:
    if _read_url(value) != value:
        raise ValueError(f"expected a URL without a slash at its end, found {value!r}")


URL = SettingType(metavar="URL", read=_read_url, check=_check_url)


def one_of(*choices: str) -> SettingType:
    """Return the type of some words, in whatever case they come."""

    def check(value: str) -> None:
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, found {value!r}")

    def read(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, found {text!r}")
        return text.lower()

    return SettingType(metavar=f"{{{','.join(choices)}}}", read=read, check=check)

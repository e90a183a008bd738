"""A time in a query: RFC 3339, or how long ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from smartmob_agent.api.kinds import ValueKind
from smartmob_agent.config.types import SECONDS_OR_0

__all__ = ["MOMENT", "Moment", "moment_of"]

Moment = datetime | timedelta
"""How long ago, or when."""

_LONGEST = timedelta(days=36500)


def _read(text: str) -> Moment:
    try:
        seconds = SECONDS_OR_0.read(text)
    except ValueError:
        return _read_time(text)
    return min(timedelta(seconds=min(seconds, _LONGEST.total_seconds())), _LONGEST)


def _read_time(text: str) -> datetime:
    # A plus is a blank in a query, where nobody has encoded it.
    try:
        time = datetime.fromisoformat(text.replace(" ", "+"))
        if time.tzinfo is not None and "T" in text.upper():
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(
        "expected a time such as 2026-01-31T12:00:00Z, or how long ago that was, such as 90s, 3h "
        f"or 2d; found {text!a}"
    )


def moment_of(moment: Moment, now: datetime) -> datetime:
    """Return when it is, or was."""
    return now - moment if isinstance(moment, timedelta) else moment


MOMENT = ValueKind(_read, {"type": "string"})

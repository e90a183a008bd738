"""The logs of the command: one event a line on stderr, for people (kv) or programs (json)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["FORMATS", "LEVELS", "configure_logging"]

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_RENDERERS: Mapping[str, Processor] = {
    "kv": structlog.processors.LogfmtRenderer(
        key_order=["event", "slug", "url"], drop_missing=True
    ),
    "json": structlog.processors.JSONRenderer(),
}
FORMATS = tuple(_RENDERERS)
_QUIET = ("httpx", "httpcore")
"""Loggers which write whole URLs, with credentials and query, at lower levels than warning."""


def configure_logging(log_format: str, log_level: str) -> None:
    """Send all logs of the program to stderr."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _drop_nothing,
            structlog.processors.format_exc_info,
            _RENDERERS[log_format],
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[log_level])
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _drop_nothing(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Leave out what has no value."""
    return {key: value for key, value in event.items() if value is not None}

"""The logs of the command: one event a line on stderr, for people (kv) or programs (json)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from smartmob_agent.agent_cli.log_writer import LogWriter

__all__ = ["open_logging"]

_STDERR = 2
_FLUSH_TIMEOUT = 1.0
"""Seconds that a reader of stderr has at the end of the program."""

_RENDERERS: Mapping[str, Processor] = {
    "kv": structlog.processors.LogfmtRenderer(
        key_order=["event", "slug", "url"], drop_missing=True
    ),
    "json": structlog.processors.JSONRenderer(),
}
_QUIET = ("httpx", "httpcore")
"""Loggers which write whole URLs, with credentials and query, at lower levels than warning."""


@contextlib.contextmanager
def open_logging(
    log_format: str, log_level: str, *, fd: int = _STDERR
) -> Iterator[Callable[[], object]]:
    """Send all logs of the program to stderr, or to another descriptor, until the end of the block.

    log_format, log_level: as the options have them.

    Nothing waits for stderr: see `LogWriter`.  Yields a function that waits, for a second at most,
    until all lines are written, for who ends the program without leaving the block.
    """
    root, quiet = logging.getLogger(), [logging.getLogger(name) for name in _QUIET]
    before = root.handlers[:], root.level, [logger.level for logger in quiet]
    handler = _Handler(_make_formatter(log_format), fd)
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
    for logger in quiet:
        logger.setLevel(logging.WARNING)
    try:
        yield lambda: handler.writer.flush(_FLUSH_TIMEOUT)
    finally:
        root.handlers[:], level, levels = before
        root.setLevel(level)
        for logger, old in zip(quiet, levels, strict=True):
            logger.setLevel(old)
        handler.close()


class _Handler(logging.Handler):
    """Hands formatted lines to a writer."""

    def __init__(self, formatter: logging.Formatter, fd: int) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.writer = LogWriter(fd, describe_loss=self._describe_loss)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; one that cannot be formatted is told, and never fails its caller."""
        try:
            line = self._encode(record)
        except Exception as exc:  # noqa: BLE001  # It may be any library's record.
            fields = {"logger": record.name, "record": repr(record.msg), "reason": repr(exc)}
            line = self._encode(_warning("log record not readable", **fields))
        self.writer.write(line)

    def close(self) -> None:
        self.writer.close(_FLUSH_TIMEOUT)
        super().close()

    def _describe_loss(self, count: int) -> bytes:
        return self._encode(_warning("log lines lost", lines=count))

    def _encode(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + "\n").encode("utf-8", "backslashreplace")


def _warning(event: str, **extra: object) -> logging.LogRecord:
    """Return a record of this module's own."""
    level = {"levelno": logging.WARNING, "levelname": "WARNING"}
    return logging.makeLogRecord({"name": __name__, **level, "msg": event, **extra})


def _make_formatter(log_format: str) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
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


def _drop_nothing(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Leave out what has no value."""
    return {key: value for key, value in event.items() if value is not None}

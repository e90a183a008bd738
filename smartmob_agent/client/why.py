"""Why a process runs, or does not: one paragraph of facts from its status.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["is_well", "why"]

Status = Mapping[str, Any]


def is_well(status: Status) -> bool:
    """Whether there is nothing to be explained by the last lines of a process."""
    return (
        status["state"] == "running" and bool(status.get("ready")) and not status.get("last_crash")
    )


def why(status: Status, lines: Sequence[str] = ()) -> str:
    """Return why a process is in its state, and what will come of it.

    status: the document of a process.
    lines: the last ones of its output; those before its last crash, if there was one, count more.
    """
    known = _STATES.get(status["state"], _unknown)
    text = " ".join([*known(status), *_history(status), *_origin(status)])
    crash = status.get("last_crash")
    last = crash["lines"] if crash else lines
    if not last:
        return f"{text}\n" if not crash else f"{text} It wrote nothing before that.\n"
    heading = "Its last lines before that were:" if crash else "Its last lines are:"
    return "\n".join([f"{text} {heading}", *(f"    {line}" for line in last), ""])


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _name(status: Status) -> str:
    return str(status["slug"])


def _pending(status: Status) -> Iterator[str]:
    yield f"{_name(status)} has been created and has not begun yet."


def _downloading(status: Status) -> Iterator[str]:
    download = status.get("download") or {}
    received, total = download.get("received"), download.get("total")
    size = f": {received} of {total} bytes are here" if total else ""
    size = size or (f": {received} bytes are here" if received else "")
    yield f"{_name(status)} does not run yet: its archive is being downloaded{size}."


def _at_work(what: str) -> Callable[[Status], Iterator[str]]:
    def explain(status: Status) -> Iterator[str]:
        yield f"{_name(status)} does not run yet: {what}."

    return explain


def _running(status: Status) -> Iterator[str]:
    since = f" since {status['started_at']}" if status.get("started_at") else ""
    port = f", with port {status['port']}" if status.get("port") else ""
    yield f"{_name(status)} runs{since}, as pid {status.get('pid')}{port}."
    if status.get("pid") is None:
        yield "Its child has just ended."
    elif status.get("ready"):
        yield "It is ready."
    elif status.get("error"):
        yield _sentence(f"It is not ready: {status['error']}")
    else:
        yield "It is not ready yet."


def _backoff(status: Status) -> Iterator[str]:
    when = status.get("next_start_at")
    yield f"{_name(status)} does not run: it waits for its next start{f', at {when}' * bool(when)}."
    if status.get("error"):
        yield _sentence(f"The reason: {status['error']}")


def _finished(status: Status) -> Iterator[str]:
    yield f"{_name(status)} has finished, and is not started again unless someone asks for it."
    if status.get("error"):
        yield _sentence(f"The reason: {status['error']}")


def _stopping(status: Status) -> Iterator[str]:
    yield f"{_name(status)} is being stopped: it was deleted, or its agent ends."
    if status.get("error"):
        yield _sentence(f"What is known: {status['error']}")


def _gone(status: Status) -> Iterator[str]:
    yield f"{_name(status)} was deleted."


def _failed(what: str, remedy: str) -> Callable[[Status], Iterator[str]]:
    def explain(status: Status) -> Iterator[str]:
        yield f"{_name(status)} does not run, and will not by itself: {what}."
        if status.get("error"):
            yield _sentence(f"The reason: {status['error']}")
        yield remedy

    return explain


_CREATE_AGAIN = "Delete it, mend that, and create it again."
_STATES: Mapping[str, Callable[[Status], Iterator[str]]] = {
    "pending": _pending,
    "downloading": _downloading,
    "unpacking": _at_work("its archive is being unpacked"),
    "processing": _at_work("its Procfile is being read"),
    "building": _at_work("what the app needs is being installed"),
    "running": _running,
    "backoff": _backoff,
    "finished": _finished,
    "stopping": _stopping,
    "gone": _gone,
    "download failure": _failed("its archive cannot be had", _CREATE_AGAIN),
    "unpack failure": _failed("its archive cannot be unpacked", _CREATE_AGAIN),
    "no procfile": _failed("its archive has no Procfile", _CREATE_AGAIN),
    "invalid procfile": _failed("its Procfile is not valid", _CREATE_AGAIN),
    "unknown process type": _failed("its Procfile lacks its process type", _CREATE_AGAIN),
    "invalid app.json": _failed("its app.json is not valid", _CREATE_AGAIN),
    "build failure": _failed("its build failed", "`smartmob restart` builds it again."),
}


def _unknown(status: Status) -> Iterator[str]:
    yield f"{_name(status)} is in the state {status['state']}, which this client does not know."
    if status.get("error"):
        yield _sentence(f"The reason: {status['error']}")


def _history(status: Status) -> Iterator[str]:
    """How often it was started, and how its children have ended."""
    restarts, failures = status.get("restarts", 0), status.get("failures", 0)
    if restarts:
        yield f"It was started again {_times(restarts)}."
    if failures > 1:
        yield f"The last {failures} starts came to nothing."
    crash, ended = status.get("last_crash"), status.get("exit")
    if crash:
        yield f"Its last child ended by itself, at {crash['at']}, with {_how(crash['exit'])}."
    elif ended:
        yield f"Its last child ended with {_how(ended)}."


def _origin(status: Status) -> Iterator[str]:
    build = status.get("build")
    if build:
        cached = "was taken from the cache" if build["cached"] else f"took {build['seconds']:g} s"
        yield f"Its build, by {build['builder']}, {cached}."


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _how(ended: Mapping[str, Any]) -> str:
    signal = ended.get("signal")
    return f"{signal}" if signal else f"exit code {ended.get('code')}"

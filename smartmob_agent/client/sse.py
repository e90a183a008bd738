"""Server-Sent Events: https://html.spec.whatwg.org/multipage/server-sent-events.html.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

__all__ = ["Message", "Parser"]


@attrs.frozen(kw_only=True)
class Message:
    """One event.

    data: empty where there was none, as in a sign of life.
    """

    event: str
    data: str


class Parser:
    """From bytes, cut anywhere, to messages; lines end as an agent ends them, with LF.

    last_id: of the latest message, None before the first that had one.
    """

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._rest = b""
        self._event = ""
        self._data: list[str] = []

    def feed(self, part: bytes) -> Iterator[Message]:
        """Take what came; yields what is whole."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            if line:
                self._take(line.decode("utf-8", "replace"))
            else:
                yield Message(event=self._event, data="\n".join(self._data))
                self._event, self._data = "", []

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self.last_id = value

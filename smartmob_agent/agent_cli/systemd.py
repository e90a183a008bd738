"""What systemd wants to know of a service, by the protocol of sd_notify(3)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio

__all__ = ["Notifier", "send_word"]

logger = logging.getLogger(__name__)


def send_word(address: str, word: str) -> None:
    """Send a word at once; if nobody takes it, say so in the log."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(
                word.encode("ascii"), "\0" + address[1:] if address.startswith("@") else address
            )
    except OSError as exc:
        logger.warning("cannot notify", extra={"reason": exc.strerror, "word": word})


@attrs.frozen
class Notifier:
    """Tells systemd; without it nothing happens.

    address: of a datagram socket, with `@` for an abstract one; None: nobody wants to know.
    watchdog_interval: seconds between two signs of life, half of what systemd waits; None for
        none.
    send: takes an address and a word.
    """

    address: str | None = None
    watchdog_interval: float | None = None
    send: Callable[[str, str], None] = send_word

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """Take what systemd has put into the environment of the process with that pid."""
        address = environ.get("NOTIFY_SOCKET") or None
        micros = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        if not (is_ours and micros.isascii() and micros.isdecimal() and int(micros)):
            return cls(address)
        return cls(address, int(micros) / 2_000_000)

    async def run(self, wait_stop: Callable[[], Awaitable[None]]) -> None:
        """Say that the service is ready, later that it stops, and that it lives all the while.

        wait_stop: returns when the service begins to stop.

        Runs until it is cancelled, if it has signs of life to give.
        """
        self._tell("READY=1")
        async with trio.open_nursery() as nursery:
            if self.address is not None and self.watchdog_interval is not None:
                nursery.start_soon(self._live, self.watchdog_interval)
            await wait_stop()
            self._tell("STOPPING=1")

    async def _live(self, interval: float) -> None:
        """From the event loop: when that hangs, there is no sign of life."""
        while True:
            self._tell("WATCHDOG=1")
            await trio.sleep(interval)

    def _tell(self, word: str) -> None:
        if self.address is not None:
            self.send(self.address, word)

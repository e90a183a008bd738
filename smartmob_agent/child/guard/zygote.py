"""The guard: a program between the agent and its children which outlives the agent.

``python -ISE PATH FD [pid]`` is the zygote: small, single-threaded, quick to fork.  For each frame
on its socket it forks a shim, which starts the app and sees to its end (`shim.py`).
It is a subreaper too: when a shim was killed, what it left behind comes here and is ended.
End of file on the socket means that the agent is gone: the shims know it as well
and end their trees; those that do not are killed.

It says `ready LEVEL`, `gone ID` (that shim has ended and left nothing) and `left PID…`
(what resists SIGKILL); it is sent {"spawn": ID, …} with the descriptors of a `Shim` and
{"kill": ID}.
"""

# Without pathlib, which would cost each shim memory:
# ruff: noqa: PTH100, PTH120

from __future__ import annotations

import gc
import os
import select
import sys
import time

if __name__ == "__main__":
    # Started by path, so PEP 366 by hand: a part of the package must not import the package,
    # which is large.  At the end of the path, where it hides nothing.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __package__ = "guard"

# After the lines above: they say where these are found.
from .app import IGNORED
from .bare import TYPE_CHECKING, Socket, open_pair, signal, suppress
from .kernel import become_subreaper, children, go_on_with_parent
from .purge import Purge
from .shim import Shim
from .wakeup import Wakeup
from .wire import FrameDecoder, receive, send

if TYPE_CHECKING:
    from typing import Any

_SHIM_TIMEOUT = 0.5
"""Seconds that shims have to end their trees when the agent is gone; 300 trees took 0.1 s."""

_SPARE_DELAY = 0.003
"""Seconds without a request after which a spare shim is forked, so that it delays none."""

_LAST_SPARE_DELAY = 1.0
"""Seconds between two tries when the user may have no more processes; it doubles until then."""

_SEND_TIMEOUT = 5.0
"""Seconds that a spare shim may be stopped when it is needed."""

_NOT_ASKED_FOR = 0
"""In place of the id of a shim: none has this."""


class Zygote:
    """Forks shims, and ends what a killed shim leaves behind."""

    def __init__(self, control: int, *, isolated: bool) -> None:
        self._control = Socket(fileno=control)
        self._isolated = isolated
        self._frames = FrameDecoder()
        self._shims: dict[int, int] = {}
        """pid of a shim → its id."""
        self._spare: tuple[int, Socket] | None = None
        """A shim that is not asked for yet, and where to ask it."""
        self._spare_delay = _SPARE_DELAY
        self._killed: list[int] = []
        """Shims that may have left something."""
        self._purge: Purge | None = None
        self._agent_lives = True
        self._deadline = float("inf")

    def run(self) -> None:
        """Return when the agent is gone and nothing is left."""
        go_on_with_parent()
        level = "tree" if become_subreaper() else "group"
        for signum in signal.valid_signals():  # as if nobody had ignored any
            if signal.getsignal(signum) == signal.SIG_IGN:
                signal.signal(signum, signal.SIG_DFL)
        for signum in (*IGNORED, signal.SIGPIPE):
            signal.signal(signum, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._wakeup = Wakeup()
        self._poll = select.poll()
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._wakeup.fd, select.POLLIN)
        gc.disable()  # a collection would touch, so copy, the memory of each shim
        gc.freeze()
        self._fork_spare()
        self._say(f"ready {level}")
        while self._agent_lives or self._shims or self._purge:
            self._turn()

    def _turn(self) -> None:
        """Wait for something to happen, and see to it."""
        progress = False
        events = self._poll.poll(self._patience())
        for fd, _ in events:
            if fd == self._wakeup.fd:
                self._wakeup.drain()
                progress = True
            else:
                self._receive()
        self._reap()
        if time.monotonic() >= self._deadline:
            for pid in self._shims:
                os.kill(pid, signal.SIGKILL)
            self._deadline = float("inf")
        self._clear(progress=progress)
        if self._agent_lives and not self._spare and not events:
            self._restock()

    def _restock(self) -> None:
        try:
            self._fork_spare()
        except OSError:  # told when it is needed
            self._spare_delay = min(2 * self._spare_delay, _LAST_SPARE_DELAY)

    def _drop_spare(self) -> None:
        if self._spare:
            self._spare[1].close()
            self._spare = None

    def _patience(self) -> float | None:
        """Milliseconds until there is something to do unasked, None for ever."""
        delay = self._purge.delay if self._purge else float("inf")
        if self._agent_lives and not self._spare:
            delay = min(delay, self._spare_delay)
        delay = min(delay, max(0, self._deadline - time.monotonic()))
        return None if delay == float("inf") else delay * 1000

    def _receive(self) -> None:
        data, fds = receive(self._control)
        if not data:
            self._agent_lives = False
            self._drop_spare()
            self._poll.unregister(self._control)
            self._deadline = time.monotonic() + _SHIM_TIMEOUT
        for message, mine in self._frames.feed(data, fds):
            if "kill" in message:
                for pid, shim in self._shims.items():
                    if shim == message["kill"]:
                        os.kill(pid, signal.SIGKILL)
            elif mine:
                self._spawn(message, mine)
            else:  # lost on their way: the agent finds the other ends closed
                self._say(f"gone {message['spawn']}")

    def _spawn(self, message: dict[str, Any], fds: list[int]) -> None:
        """Pass a request on to the spare shim."""
        try:
            pid, spare = self._spare or self._fork_spare()
        except OSError as exc:
            _refuse(fds, f"{exc.errno} fork")
            self._say(f"gone {message['spawn']}")
        else:
            self._spare = None
            self._shims[pid] = message["spawn"]
            with spare:
                spare.settimeout(_SEND_TIMEOUT)
                try:
                    send(spare, message, fds)
                except (ConnectionError, TimeoutError):  # its end says enough
                    os.kill(pid, signal.SIGKILL)
                except OSError as exc:  # it ends, since it is asked for nothing
                    _refuse(fds, f"{exc.errno} request")
        for fd in fds:
            os.close(fd)

    def _fork_spare(self) -> tuple[int, Socket]:
        """A shim that waits for a request, forked before it is needed: that takes a while."""
        ours, theirs = open_pair()
        with theirs:
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                raise
            if not pid:
                ours.close()
                self._become_shim(theirs)
        self._shims[pid] = _NOT_ASKED_FOR
        self._spare = pid, ours
        self._spare_delay = _SPARE_DELAY
        return self._spare

    def _become_shim(self, requests: Socket) -> None:
        """Never returns; the exit status tells that nothing was left."""
        status = 1
        try:
            self._wakeup.close()
            self._control.close()
            shim = Shim(requests, isolated=self._isolated)  # to take it apart would take long
            shim.run()
            status = 0
        except Exception:  # noqa: BLE001  a fork must not go on with its parent's work
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if self._spare and self._spare[0] == pid:
                    self._drop_spare()
                if shim := self._shims.pop(pid, _NOT_ASKED_FOR):
                    if status:
                        self._killed.append(shim)
                    else:
                        self._say(f"gone {shim}")

    def _clear(self, *, progress: bool) -> None:
        """End what killed shims left: all our children that are none."""
        if not self._killed and not self._purge:
            return
        if all(pid in self._shims for pid in children(os.getpid())):
            for shim in self._killed:
                self._say(f"gone {shim}")
            self._killed.clear()
            if self._purge:
                self._purge.finish()
            self._purge = None
            return
        self._purge = self._purge or Purge()
        self._purge.round(self._shims.keys(), progress=progress)
        if report := self._purge.report():
            self._say(f"left {report}")

    def _say(self, line: str) -> None:
        if self._agent_lives:
            with suppress(OSError):
                self._control.sendall(f"{line}\n".encode("ascii"))


def _refuse(fds: list[int], reason: str) -> None:
    """Say what the shim would say."""
    with suppress(OSError):
        os.write(fds[0], f"failed {reason}\n".encode("ascii"))


if __name__ == "__main__":
    zygote = Zygote(int(sys.argv[1]), isolated=sys.argv[2:] == ["pid"])
    zygote.run()
    os._exit(0)  # at once: nothing here needs an orderly end

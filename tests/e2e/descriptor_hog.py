"""Uses up what its user may have of descriptors on their way through sockets, unix(7)."""

from __future__ import annotations

import os
import socket
import sys
from array import array

PAIRS = []
RIGHTS = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [0] * 100))]

try:
    while True:
        PAIRS.append(socket.socketpair())
        PAIRS[-1][0].sendmsg([b"."], RIGHTS)
except OSError as exc:
    sys.stdout.write(f"{os.strerror(exc.errno or 0)}\n")
    sys.stdout.flush()
os.read(os.eventfd(0), 8)

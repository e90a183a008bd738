"""A fork bomb of at most ARGV[1] processes, each in a session of its own, for 12 s at most.

A pipe holds one byte for each process that may still be made.
"""

import os
import signal
import sys
import time

END = time.monotonic() + 12
allowed, used = os.pipe()
os.write(used, b"." * min(65536, int(sys.argv[1])))
os.set_blocking(allowed, False)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
started = False
while time.monotonic() < END:
    try:
        full = not os.read(allowed, 1)
    except BlockingIOError:
        full = True
    if not full:
        try:
            if not os.fork():
                os.setsid()
        except OSError:
            full = True
    if full and not started:
        started = True
        os.write(1, b"full\n")

"""Makes a tree of ARGV[1] processes, every fifth a daemon, and tells when it stands."""

import os
import signal
import sys

ready, told = os.pipe()
count = int(sys.argv[1]) - 1
for number in range(count):
    if not os.fork():
        if number % 5 == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
        os.write(told, b".")
        signal.pause()
    if number % 5 == 0:
        os.wait()
seen = 0
while seen < count:
    seen += len(os.read(ready, 4096))
os.write(1, b"ready\n")
signal.pause()

"""A worker that says that it is still there.

TICK_SECONDS: how long it sleeps in between.
"""

from __future__ import annotations

import itertools
import os
import time

seconds = float(os.environ["TICK_SECONDS"])
print(f"worker {os.getpid()} starts")
for number in itertools.count(1):
    time.sleep(seconds)
    print(f"tick {number}")

"""An app with 150 daemons, which ends when each of them has answered after a SIGTERM; exits 5."""

import os
import signal

COUNT = 150
questions, ask = os.pipe()
answers, answer = os.pipe()


def end(*_arguments: object) -> None:
    os.write(ask, b"?" * COUNT)
    for _ in range(COUNT):
        os.read(answers, 1)
    os._exit(5)


signal.signal(signal.SIGTERM, end)
for _ in range(COUNT):
    if not os.fork():
        os.setsid()
        os.read(questions, 1)
        os.write(answer, b"!")
        signal.pause()
os.write(1, b"ready\n")
while True:
    signal.pause()

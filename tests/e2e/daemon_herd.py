"""An app with 150 daemons, which ends when each of them has answered after a SIGTERM; exits 5."""

import os
import signal

COUNT = 150
questions, ask = os.pipe()
answers, answer = os.pipe()


def hear_all() -> None:
    for _ in range(COUNT):
        os.read(answers, 1)


def end(*_arguments: object) -> None:
    os.write(ask, b"?" * COUNT)
    hear_all()
    os._exit(5)


for _ in range(COUNT):
    if not os.fork():
        os.setsid()
        os.write(answer, b"!")
        os.read(questions, 1)
        os.write(answer, b"!")
        signal.pause()
hear_all()  # until each has left the group that SIGTERM is for
signal.signal(signal.SIGTERM, end)
os.write(1, b"ready\n")
while True:
    signal.pause()

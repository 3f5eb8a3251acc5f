"""A sleeping rank is woken by its threads and by signals, whatever it is doing at that moment."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from hpcp_mpi.cluster.transport import Waker

SOON = 30.0  # seconds; nothing here takes half as long

# A signal comes at any moment of the main thread's sleep, thousands of times; never while another is handled.
SCRIPT = """
import random, signal, sys, threading, time
from hpcp_mpi.cluster.transport import Waker

class Naive:
    def __init__(self):
        self.event = threading.Event()
    def wake(self):
        self.event.set()
    def wait(self, seconds):
        self.event.wait(seconds)
        self.event.clear()

waker, chance = {"naive": Naive, "waker": Waker}[sys.argv[1]](), random.Random(1)

signal.signal(signal.SIGALRM, lambda number, frame: waker.wake())
end = time.monotonic() + 3
while time.monotonic() < end:
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00001, 0.0005))
    waker.wait(0.0003)
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
print("awake")
"""


def came_to_its_end(which: str, patience: float) -> bool:
    """Whether the script, which takes three seconds, ends, and does not wait for itself for ever."""
    script = subprocess.Popen([sys.executable, "-c", SCRIPT, which], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        return b"awake" in script.communicate(timeout=patience)[0]
    except subprocess.TimeoutExpired:
        return False
    finally:
        script.kill()
        script.wait()


def test_a_signal_at_any_moment_of_the_sleep_wakes_it() -> None:
    assert came_to_its_end("waker", SOON)


def test_with_an_event_the_handler_waits_for_its_own_thread() -> None:
    """That is what the test above would find."""
    assert not came_to_its_end("naive", 6)


def test_what_was_put_before_the_call_is_seen_after_the_sleep() -> None:
    waker, inbox, seen = Waker(), [], 0

    def send() -> None:
        for number in range(2000):
            inbox.append(number)
            waker.wake()

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    deadline = time.monotonic() + 60
    while seen < 6000:
        waker.wait(30)
        assert time.monotonic() < deadline
        seen = len(inbox)
    for sender in senders:
        sender.join()


def test_without_a_call_it_sleeps_for_so_long_and_never_for_less_than_nothing() -> None:
    waker, began = Waker(), time.monotonic()
    waker.wait(0.05)
    assert time.monotonic() - began >= 0.05
    waker.wait(-1)


def test_a_sleep_whose_time_is_over_before_it_begins_ends() -> None:
    waker = Waker()

    def sleep_often() -> None:
        for _ in range(5000):
            waker.wake()
            waker.wait(SOON)
            waker.wait(1e-6)  # a busy machine makes it the same with any time

    sleeper = threading.Thread(target=sleep_often, daemon=True)
    sleeper.start()
    sleeper.join(SOON)
    assert not sleeper.is_alive()

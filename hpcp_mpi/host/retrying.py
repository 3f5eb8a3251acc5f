"""Retries for errors that go away by themselves: a stale handle, a server that fails over to another.

A few tries with pauses in between. If these were in vain a short time ago, there is one more try and no pause: else
each of a million files that cannot be reached would wait.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

PASSING = (errno.ESTALE, errno.ENOTCONN)
_WORDS = tuple(os.strerror(number) for number in PASSING)  # also as `cp` prints them, in the C locale
_PAUSES = (0.1, 0.5, 2.0)  # seconds
_WEARY = 60.0  # seconds without pauses after tries were in vain
_STEP = 0.1  # seconds between checks whether the run is ending

T = TypeVar("T")


class _Patience:
    """The time when tries of this process were last in vain."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._weary_until = 0.0

    def pauses(self) -> tuple[float, ...]:
        with self._guard:
            return (0.0,) if time.monotonic() < self._weary_until else _PAUSES

    def find(self) -> None:
        with self._guard:
            self._weary_until = 0.0

    def lose(self) -> None:
        with self._guard:
            self._weary_until = time.monotonic() + _WEARY


_patience = _Patience()


def never() -> bool:
    """Return False, so that nothing ends the waiting."""
    return False


def passes(error: OSError) -> bool:
    """Return whether an error may be over in a moment."""
    return error.errno in PASSING


def names_passing(words: str) -> bool:
    """Return whether the reason of a failure, or a program's message, names such an error."""
    return any(each in words for each in _WORDS)


def tries(stopped: Callable[[], bool] = never) -> Iterator[bool]:
    """Yield, for each try, whether it is the last one, with a pause before each but the first.

    A caller that succeeds stops iterating. stopped: returns whether the run is ending, which waits for nothing.
    """
    pauses = _patience.pauses()
    yield False
    for number, pause in enumerate(pauses):
        _sleep(pause, stopped)
        last = number == len(pauses) - 1 or stopped()
        if last:
            _patience.lose()
        yield last
        if last:
            return


def recovered() -> None:
    """Record that the last try was not in vain."""
    _patience.find()


def retried(call: Callable[[], T], stopped: Callable[[], bool] = never) -> T:
    """Return the result of call, retried a few times while its error may be over in a moment.

    Raises OSError.
    """
    try:
        return call()  # nearly always: what may be called a million times costs no more than a function
    except OSError as error:
        if not passes(error):
            raise
    for last in islice(tries(stopped), 1, None):
        try:
            result = call()
        except OSError as error:
            if last or not passes(error):
                raise
            continue
        if last:
            recovered()
        return result
    raise AssertionError("the last try was not the last")


def in_the_end(error: OSError, call: Callable[[], object], stopped: Callable[[], bool] = never) -> OSError | None:
    """Return the error of a call that failed, after retries where error may pass; None if one succeeded."""
    if not passes(error):
        return error
    try:
        retried(call, stopped)
    except OSError as other:
        return other
    return None


def _sleep(seconds: float, stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not stopped() and (left := until - time.monotonic()) > 0:
        time.sleep(min(_STEP, left))

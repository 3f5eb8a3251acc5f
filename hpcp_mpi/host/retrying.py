"""What goes away by itself: a handle that went stale, a server that another one stands in for.

A few tries with pauses in between. While these were in vain a short time ago, there is one more try and no pause: of a
million files that cannot be reached, each would wait.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

PASSING = (errno.ESTALE, errno.ENOTCONN)
_WORDS = tuple(os.strerror(number) for number in PASSING)  # those of `cp`, too: it speaks the C locale
_PAUSES = (0.1, 0.5, 2.0)  # seconds
_WEARY = 60.0  # seconds without pauses after they were in vain
_STEP = 0.1  # seconds between looks whether the run is to end

T = TypeVar("T")


class _Patience:
    """This process's: when trying again was in vain the last time."""

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
    """Return False: nothing ends the waiting."""
    return False


def passes(error: OSError) -> bool:
    """Return whether what error says may be over in a moment."""
    return error.errno in PASSING


def tells_passing(words: str) -> bool:
    """Tell the same of the reason of a failure, or the words of a program."""
    return any(each in words for each in _WORDS)


def tries(stopped: Callable[[], bool] = never) -> Iterator[bool]:
    """Yield once for each try, with a pause before each but the first; what is yielded tells whether it is the last.

    Whoever has no need of another try takes no more. stopped: tells that the run is ending, which waits for nothing.
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
    """Take note that the last try was not in vain."""
    _patience.find()


def tried(call: Callable[[], T], stopped: Callable[[], bool] = never) -> T:
    """Return what call returns; it is called again a few times while what it says may be over in a moment.

    Raises OSError.
    """
    for last in tries(stopped):
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
    """Return what is wrong with a call that failed with error, when it was tried again if that makes sense; or None."""
    if not passes(error):
        return error
    try:
        tried(call, stopped)
    except OSError as other:
        return other
    return None


def _sleep(seconds: float, stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not stopped() and (left := until - time.monotonic()) > 0:
        time.sleep(min(_STEP, left))

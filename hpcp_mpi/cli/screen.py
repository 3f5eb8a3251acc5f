"""The screen that stderr leads to: lines, and below them a bar that is drawn anew and taken away without remains.

The cursor rests at the beginning of the bar: where a terminal is made narrower the bar is wrapped below it, and what is
there is erased. It is never hidden, as a killed program could not show it again.
"""

import sys
import threading

# From the beginning of the row to the end of the screen. Not from the first character on: where that is the first one
# of the screen, tmux moves all of it to what can be scrolled back to.
_ERASE = "\r \x1b[J\r"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"  # a row that is too long, in a terminal that has just become narrow, is cut
_UP = "\x1b[A"


class Screen:
    """Where lines and the bar go, by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawn = 0  # characters of the bar that is there
        self._below = False  # the cursor rests below the bar
        self._plain = False  # the terminal knows no sequences

    def use(self, below: bool = False, plain: bool = False) -> None:
        """Say how to draw. below: what forwards it does so by lines. plain: with blanks and carriage returns only"""
        self._below, self._plain = below, plain

    @property
    def behind(self) -> bool:
        """Whether what was written before is not taken yet: a bar would only be outdated when it is."""
        return bool(getattr(sys.stderr, "behind", False))

    def write(self, text: str) -> None:
        """Write lines, in the place of the bar if there is one."""
        with self._lock:
            _out(self._erased() + text)

    def draw(self, row: str, width: int) -> None:
        """Draw the bar, which has so many characters, over the one before."""
        with self._lock:
            if self._plain:
                text = f"\r{row}{' ' * (self._drawn - width)}\r"
            elif self._below:
                text = f"{_UP if self._drawn else ''}\r{_NO_WRAP}{row}\x1b[J{_WRAP}\n"
            else:
                text = f"\r{_NO_WRAP}{row}\x1b[J{_WRAP}\r"
            self._drawn = max(width, 1)
            _out(text)

    def clear(self) -> None:
        """Take the bar away, if there is one."""
        with self._lock:
            if self._drawn:
                _out(self._erased())

    def clear_if_free(self) -> None:
        """Take the bar away, in a signal handler: nothing if the interrupted code, or another thread, is writing."""
        if self._lock.acquire(blocking=False):
            try:
                if self._drawn:
                    _out(self._erased())
            finally:
                self._lock.release()

    def _erased(self) -> str:
        drawn, self._drawn = self._drawn, 0
        if not drawn:
            return ""
        return f"\r{' ' * drawn}\r" if self._plain else (_UP if self._below else "") + _ERASE


def _out(text: str) -> None:
    """Write text to stderr in one piece: print() would write parts, which launchers forward one by one."""
    sys.stderr.write(text)
    sys.stderr.flush()

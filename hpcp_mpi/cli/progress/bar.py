"""Progress as a bar on a terminal, which leaves nothing behind."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from types import FrameType

from hpcp_mpi.cli.progress.words import Piece, row
from hpcp_mpi.cli.screen import Screen
from hpcp_mpi.vocab.progress import Progress

_REDRAW = 0.2  # seconds
_PATIENCE = 0.5  # seconds of a run before a bar is worth its import
_STYLES = {"": "", "done": "green", "rest": "bright_black", "failed": "bold red"}

Painter = Callable[[list[Piece]], str]


class Bar:
    """A watcher that draws a row again and again, and takes it away for what else is written."""

    def __init__(
        self,
        screen: Screen,
        columns: Callable[[], int],
        seen: Callable[[], bool] = lambda: True,
        ascii_only: bool = False,
        painter: Painter | None = None,
    ) -> None:
        """columns, seen: the width of the terminal, and whether the user sees the run there just now"""
        self._screen = screen
        self._columns = columns
        self._seen = seen
        self._ascii = ascii_only
        self._painter = painter
        self._imports: threading.Thread | None = None
        self._next = time.monotonic() + _PATIENCE

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def show(self, progress: Progress) -> None:
        self._next = time.monotonic() + _REDRAW
        if self._painter is None:
            self._prepare()
        elif not self._screen.behind and self._seen():
            # A column is left free: some terminals wrap when the last one is written.
            pieces = row(progress, max(1, self._columns() - 1), self._ascii)
            self._screen.draw(self._painter(pieces), sum(len(text) for text, _ in pieces))

    def close(self) -> None:
        """Take the bar away; show() draws it anew."""
        self._screen.clear()

    def _prepare(self) -> None:
        """Import what paints, in a thread: from a slow file system it takes seconds, and the work goes on."""
        if self._imports is None:
            self._imports = threading.Thread(target=self._import, name="bar", daemon=True)
            self._imports.start()

    def _import(self) -> None:
        self._painter = painter()


def painter() -> Painter:
    """Return what makes of pieces a text with the colours that the terminal has, if it has any and they are wanted."""
    from rich.console import Console
    from rich.text import Text

    # It knows TERM, COLORTERM and NO_COLOR.
    console = Console(file=StringIO(), force_terminal=True, width=10_000, highlight=False, markup=False, emoji=False)

    def paint(pieces: list[Piece]) -> str:
        with console.capture() as capture:
            console.print(Text.assemble(*((text, _STYLES[style]) for text, style in pieces)), end="", soft_wrap=True)
        return capture.get()

    return paint


@contextmanager
def halting(screen: Screen) -> Iterator[None]:
    """Take the bar away before Ctrl-Z halts this process; it is drawn anew when it goes on."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTSTP) != signal.SIG_DFL:
        yield
        return

    def halt(number: int, frame: FrameType | None) -> None:
        screen.clear_if_free()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, halt)  # it goes on

    signal.signal(signal.SIGTSTP, halt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)

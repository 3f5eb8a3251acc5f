"""The choice of a display for a run's progress: what was asked for, else what stderr leads to."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol

from hpcp_mpi.cli.log import Log
from hpcp_mpi.cli.progress.bar import Bar, halting
from hpcp_mpi.cli.progress.json_lines import JsonLines
from hpcp_mpi.cli.progress.lines import Lines
from hpcp_mpi.cli.streams import Shown
from hpcp_mpi.cli.unblocked import Unblocked
from hpcp_mpi.engine.frontend import ProgressWatcher
from hpcp_mpi.host import terminal
from hpcp_mpi.host.terminal import Terminal
from hpcp_mpi.vocab.progress import Progress

_DUMB = ("", "dumb", "unknown")  # terminals that know no sequences, by TERM


class Watcher(ProgressWatcher, Protocol):
    """A display that can be taken away."""

    def close(self) -> None: ...


class Several:
    """Some watchers, each of which has its own time; or none at all."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def due(self) -> bool:
        return any(watcher.due() for watcher in self._watchers)

    def show(self, progress: Progress) -> None:
        for watcher in self._watchers:
            if watcher.due():
                watcher.show(progress)

    def close(self) -> None:
        """Take away what each of them draws."""
        for watcher in self._watchers:
            watcher.close()


@contextmanager
def watching(
    kind: str, interval: float, log: Log, arguments: Sequence[str], environment: Mapping[str, str]
) -> Iterator[Watcher]:
    """Yield the display of a run, of which nothing is left at the end.

    kind: auto, bar, lines, json, none. interval: seconds between lines. arguments: of this program
    """
    with ExitStack() as stack:
        _never_wait(stack)
        watchers: list[Watcher] = []
        if kind == "json":
            watchers = [JsonLines(interval, log.object)]
        elif kind == "lines":
            watchers = [Lines(interval, log.progress)]
        elif kind == "bar" or (kind == "auto" and not log.quiet):
            bar = _bar(log, arguments, environment, stack, wanted=kind == "bar")
            watchers = [bar or Lines(interval, log.progress)]
        if log.has_file and kind != "none" and not any(isinstance(watcher, Lines) for watcher in watchers):
            watchers.append(Lines(interval, log.file_only))
        watcher = Several(watchers)
        stack.callback(watcher.close)
        yield watcher


def _bar(
    log: Log, arguments: Sequence[str], environment: Mapping[str, str], stack: ExitStack, wanted: bool
) -> Bar | None:
    """Return a bar where one can be drawn well, or is wanted; else None."""
    screen, plain = log.screen, environment.get("TERM", "") in _DUMB
    if plain and not wanted:
        return None
    ascii_only = not _shows_blocks(environment)
    if sys.stderr.isatty():
        own = Terminal(sys.stderr.fileno())
        screen.use(plain=plain)
        stack.enter_context(halting(screen))
        return Bar(screen, own.columns, own.in_foreground, ascii_only)
    stderr: object = sys.stderr
    forwarded = terminal.of_launcher(sys.stderr.fileno(), arguments) if isinstance(stderr, Shown) else None
    if forwarded is not None and isinstance(stderr, Shown):
        # Written there directly, as launchers wait for whole lines. The log goes the same way, or it would come later
        # than the bar that is drawn below it.
        stack.callback(forwarded.close)
        stack.callback(stderr.take, Unblocked(sys.stderr.fileno()))
        stderr.take(Unblocked(forwarded.fd))
        screen.use(plain=plain)
        return Bar(screen, forwarded.columns, forwarded.in_foreground, ascii_only)
    if not wanted:
        return None
    screen.use(below=not plain, plain=plain)
    return Bar(screen, terminal.default_columns, ascii_only=ascii_only)


def _never_wait(stack: ExitStack) -> None:
    """Have stderr take what a paused terminal does not, for the time of a run."""
    stderr: object = sys.stderr
    if isinstance(stderr, Shown):
        stderr.take(Unblocked(stderr.fileno()))


def _shows_blocks(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal has the characters of the bar, by the locale: Python writes UTF-8 also in C."""
    locale = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := environment.get(name))), "")
    encoding = getattr(sys.stderr, "encoding", None) or ""
    return "utf8" in locale.lower().replace("-", "") and encoding.lower().replace("-", "") == "utf8"

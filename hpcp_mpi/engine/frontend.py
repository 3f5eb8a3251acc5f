"""The frontend of a run: progress display, questions, changes found."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from hpcp_mpi.cluster.signals import StoppedEarly, StopRequest
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.checkpoints import CheckpointWriter
from hpcp_mpi.engine.itemize import Item
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.vocab.errors import UsageError
from hpcp_mpi.vocab.job import OwnFile
from hpcp_mpi.vocab.progress import Progress


class ProgressWatcher(Protocol):
    """A display of how far a run is."""

    def due(self) -> bool:
        """Return whether show() is to be called now. Called very often."""

    def show(self, progress: Progress) -> None: ...


class Unwatched:
    """A watcher that shows nothing."""

    def due(self) -> bool:
        return False

    def show(self, progress: Progress) -> None:
        """Nothing to show."""


class Items(Protocol):
    """A collection of what was or would be changed."""

    def add(self, items: Iterable[Item]) -> None: ...


def no_answer(question: str) -> bool | None:
    """Return None: no user can be asked."""
    return None


def no_name(question: str, name: str) -> bool | None:
    """Return None: no user can be asked to type a name."""
    return None


def no_user(message: str, remedy: str) -> None:
    """Raise UsageError with the message: no user could answer the question that would come."""
    raise UsageError(message, remedy)


def answer_no(question: str) -> bool:
    """Return False, the answer no: no user is there to say yes."""
    return False


def discard_line(text: str) -> None:
    """Drop a line of text: no user is there to read it."""


def no_question() -> None:
    """Raise nothing: no question will be asked, or a user can answer it."""


@contextmanager
def ended_by(stop: StopRequest) -> Iterator[None]:
    """Raise StoppedEarly in place of the Stopped of a call that waited when a signal came."""
    try:
        yield
    except Stopped:
        raise StoppedEarly(stop.code, stop.name) from None


@dataclass(frozen=True, slots=True)
class Frontend:
    """The frontend of a run, on rank 0: the stop request, the display, the questions, the ledger."""

    stop: StopRequest = field(default_factory=StopRequest)
    watcher: ProgressWatcher = field(default_factory=Unwatched)
    shows_end: bool = False  # the watcher is shown how it ended, due or not: it has nothing else to tell that
    items: Items | None = None  # takes what was or would be changed; without it that is in the report
    # Asks before something is removed; False is no. Raises UsageError where no user can answer, StoppedEarly on Ctrl-C.
    confirm: Callable[[str], bool] = answer_no
    # The same where to be sure in advance is not enough, as with -rf given once. None: no user can answer.
    confirm_doubt: Callable[[str], bool | None] = no_answer
    # The same for what is lost with a whole disk: its name has to be typed. None: no user can answer.
    confirm_named: Callable[[str, str], bool | None] = no_name
    # Raises UsageError (message, remedy) where no user could answer these two, before what takes long is done.
    expect_name: Callable[[str, str], None] = no_user
    # For a question that comes late, after hours: called before anything is changed, raises the same UsageError.
    expect_answer: Callable[[], None] = no_question
    certain: bool = False  # confirm says yes to everything: nothing has to be found out for the question
    say: Callable[[str], None] = discard_line  # what is better known now than when it is in the report
    warns: Callable[[str], None] | None = None  # the same of problems, which also a quiet run shows; None: say does it
    checkpoints: CheckpointWriter | None = None  # writes the run down
    own: frozenset[OwnFile] = frozenset()  # files of the run that are never removed
    # Rank 0 and a worker that are threads of this process, as of now: for what no other process may see.
    team: Callable[[], AbstractContextManager[Wire]] | None = None

    def warn(self, text: str) -> None:
        """Say what is a problem, or part of a question."""
        (self.warns or self.say)(text)

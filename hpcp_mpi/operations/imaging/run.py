"""One run with images, on rank 0: its mounts, and the ordinary copies that do its work.

Everything is closed in the end, also when the run fails.
"""

import gc
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from hpcp_mpi.cluster.signals import StoppedEarly
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.host.block.mounts import MountRoom, private_namespace
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.operations.copy.rank0 import lead_copy
from hpcp_mpi.operations.imaging.shown import Shown, rename_report
from hpcp_mpi.rules.excludes import literal, normalise, refusal
from hpcp_mpi.scheduling.messages import StopRequested
from hpcp_mpi.vocab.errors import Failure, FatalError
from hpcp_mpi.vocab.image_options import ImageOptions
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb

_LOOK = 0.5  # seconds between two looks at what idle ranks send


@dataclass(slots=True)
class Imaging:
    """One run with images. stack: what is undone at its end, the last first."""

    request: Request
    images: ImageOptions
    frontend: Frontend
    room: MountRoom
    stack: ExitStack
    shown: Shown = field(default_factory=Shown)  # how people know what is mounted
    notes: list[tuple[bytes, str]] = field(default_factory=list)  # for the report: (path, what a reader should know)
    failures: list[Failure] = field(default_factory=list)  # for the report

    @property
    def options(self) -> Options:
        return self.request.options

    @property
    def stopping(self) -> bool:
        """Whether a signal has ended the run."""
        return bool(self.frontend.stop.code)

    def refuse_if_stopped(self) -> None:
        """Raise StoppedEarly if a signal has ended the run."""
        if self.stopping:
            raise StoppedEarly(self.frontend.stop.code, self.frontend.stop.name)


@contextmanager
def imaging(request: Request, frontend: Frontend, wire: Wire) -> Iterator[Imaging]:
    """Yield a run with its namespace and its room for mounts. wire: that of all ranks. Raises FatalError."""
    assert request.images is not None
    with ExitStack() as stack:
        stack.enter_context(drained(wire, frontend))
        private_namespace()
        room = stack.enter_context(MountRoom())
        run = Imaging(request, request.images, frontend, room, ExitStack())
        with run.stack:
            yield run


@contextmanager
def drained(wire: Wire, frontend: Frontend) -> Iterator[None]:
    """Receive what the other ranks send meanwhile: signs of life, and signals that only they got."""
    ended = threading.Event()

    def receive() -> None:
        while not ended.wait(_LOOK):
            while (received := wire.receive()) is not None:
                if isinstance(received[1], StopRequested):
                    said = received[1]
                    frontend.stop.urgent = frontend.stop.urgent or said.urgent
                    frontend.stop.note(said.code, said.signal, said.patience)

    thread = threading.Thread(target=receive, name="idle ranks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def team_of(run: Imaging) -> Iterator[Wire]:
    """Yield the wire of rank 0 of a team of this process, which sees its mounts, and holds none open afterwards."""
    assert run.frontend.team is not None
    try:
        with run.frontend.team() as wire:
            yield wire
    except BaseException as error:
        _let_go(error)
        raise
    finally:
        gc.collect()  # what a job has open is in cycles: a mount could not be unmounted


def _let_go(error: BaseException) -> None:
    """Forget what the frames that an error went through have open."""
    at: BaseException | None = error
    while at is not None:
        traceback.clear_frames(at.__traceback__)
        at = at.__context__


def copy_between(
    run: Imaging, sources: Sequence[bytes], places: Sequence[bytes], destination: bytes, options: Options
) -> Report:
    """Copy as ever, between directories; in the report mounts are called by the images they are of. Raises FatalError.

    places: where each source lands, relative to the destination: a directory's contents, anything else as that entry;
    b"": the destination itself. It is stopped by signals as any copy: the report says so.
    """
    request = Request(
        Verb.COPY,
        tuple(sources),
        (destination,),
        replace(options, places=tuple(places)),
        force=run.request.force,
    )
    return led(run, request, lead_copy)


def led(run: Imaging, request: Request, leader: Callable[[Wire, Request, Frontend], Report]) -> Report:
    """Do something ordinary with what is mounted; in the report mounts are called by the images they are of.

    leader: what leads it. Raises FatalError.
    """
    try:
        with team_of(run) as wire:
            report = leader(wire, request, _with_names(run.frontend, run.shown))
    except FatalError as error:
        raise run.shown.renamed(error) from None
    except Stopped:
        raise StoppedEarly(run.frontend.stop.code, run.frontend.stop.name) from None
    return rename_report(report, run.shown)


def _with_names(frontend: Frontend, shown: Shown) -> Frontend:
    """Return a frontend that says and asks in the names of images what it is given in those of mounts."""
    return replace(
        frontend,
        say=lambda text: frontend.say(shown.text(text)),
        warns=lambda text: frontend.warn(shown.text(text)),
        confirm=lambda question: frontend.confirm(shown.text(question)),
        confirm_doubt=lambda question: frontend.confirm_doubt(shown.text(question)),
    )


def inside(patterns: Sequence[bytes], room: MountRoom) -> tuple[bytes, ...]:
    """Return exclude patterns that match in any mount of a room as if it was the root of everything."""
    mounts = literal(room.path) + b"/[0-9][0-9]"
    found = []
    for pattern in patterns:
        if refusal(pattern):  # it matches nothing, and behind a mount it could
            found.append(pattern)
            continue
        text, directories = normalise(pattern)
        found.append(mounts + text + (b"/" if directories else b""))
    return tuple(found)


def with_patterns_inside(options: Options, room: MountRoom) -> Options:
    """Return options whose exclude patterns are for what is mounted in a room."""
    return replace(
        options,
        excludes=inside(options.excludes, room),
        optional_excludes=inside(options.optional_excludes, room),
    )


def outside(patterns: frozenset[bytes] | None, options: Options, room: MountRoom) -> frozenset[bytes] | None:
    """Return patterns that `inside` made as the user gave them. options: the user's"""
    if patterns is None:
        return None
    known: Mapping[bytes, bytes] = dict(zip(inside(options.excludes, room), options.excludes, strict=True))
    return frozenset(known.get(pattern, pattern) for pattern in patterns)

"""Before anything is removed: what was meant, and may it go? Everything that must not go is refused here."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from hpcp_mpi.host.mounts import mounts_below
from hpcp_mpi.operations.prepare.arguments import absolute, expanded, root_of
from hpcp_mpi.operations.remove.rules import others, walks
from hpcp_mpi.rules import excludes
from hpcp_mpi.vocab.errors import FatalError, UsageError, reason_of
from hpcp_mpi.vocab.job import Job, Root
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import child_path, printable
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, ONE_LINK, ONE_SPECIAL, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Kind

_PINNED = 16  # directories of one parent that every rank opens before it starts; of more it opens only the parent
_TOGETHER = 10_000  # names in a batch
_NOTHING_DONE = "Nothing was removed."


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to remove."""

    argument: bytes
    parent: bytes  # absolute
    name: bytes
    status: os.stat_result  # lstat

    @property
    def path(self) -> bytes:
        return child_path(self.parent, self.name)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def tally(self) -> Tally:
        """What it counts as, without what is in it and without its bytes."""
        mode = self.status.st_mode
        if stat.S_ISREG(mode):
            return one_file(0)
        return ONE_DIRECTORY if stat.S_ISDIR(mode) else ONE_LINK if stat.S_ISLNK(mode) else ONE_SPECIAL


@dataclass(frozen=True, slots=True)
class Pinned:
    """A directory that is a root: emptied first, and then removed by name, if it still has that name."""

    source: int
    target: Target
    parent: int  # a descriptor


@dataclass(slots=True)
class RemovalJob:
    """A removal that may start."""

    job: Job
    targets: list[Target]
    skipped: Tally = NOTHING  # arguments that are excluded
    pinned: list[Pinned] = field(default_factory=list)
    _named: list[tuple[int, list[Target]]] = field(default_factory=list)  # what is removed by name, by parent
    excluding: int = 0  # the exclude patterns that arguments match, a bit for each

    def batches(self, kind: Kind) -> Iterator[Batch]:
        """Yield all of it. kind: REMOVE or COUNT."""
        for pinned in self.pinned:
            yield Batch(kind, pinned.source, b"", b"", walks([b""]))
        for source, targets in self._named:
            by_type: dict[Tally, list[bytes]] = {}
            for target in targets:
                by_type.setdefault(target.tally, []).append(target.name)
            for tally, names in by_type.items():
                for at in range(0, len(names), _TOGETHER):
                    some = names[at : at + _TOGETHER]
                    plain = tally == one_file(0)
                    units = walks(some) if tally.directories else others(some, None if plain else tally)
                    yield Batch(kind, source, b"", b"", units)

    def close(self) -> None:
        """Let go of what was pinned."""
        for pinned in self.pinned:
            os.close(pinned.parent)


def removable(sources: Iterable[bytes], options: Options) -> RemovalJob:
    """Check what is to be removed. Raises FatalError, and nothing was done then."""
    given = [_target(name) for pattern in sources for name in expanded(pattern)]
    if not given:
        raise UsageError("no path was given")
    _refuse_own_directory(given)
    _refuse_mounts(given)
    targets = _once(given)
    excluded = excludes.matcher(options.all_excludes)
    kept = [target for target in targets if excluded is not None and excluded(target.path, target.is_directory)]
    targets = [target for target in targets if target not in kept] if kept else targets
    skipped = NOTHING
    for target in kept:
        skipped = skipped.plus(target.tally)
    return _placed(targets, skipped, options, 0 if excluded is None else excluded.matched)


def _target(argument: bytes) -> Target:
    """Return what an argument means. Raises FatalError."""
    path = argument.rstrip(b"/")
    parent, name = os.path.split(path)
    if name in (b"", b".", b".."):
        if not path:
            raise UsageError("refused to remove the root directory", "Name what is in it.")
        what = f"{printable(argument)}, which names no entry of a directory"
        raise UsageError(f"refused to remove {what}", "Name what is in it, or its full path.")
    try:
        status = os.lstat(path)
        is_directory = stat.S_ISDIR(status.st_mode)
    except OSError as error:
        raise FatalError(f"cannot remove {printable(argument)}: {reason_of(error)}", _NOTHING_DONE) from None
    if argument.endswith(b"/") and not is_directory:
        if stat.S_ISLNK(status.st_mode):
            raise UsageError(
                f"{printable(argument)} is a symlink: is the link to go, or what it points to?",
                f"Name the link without the slash, or the directory {printable(os.path.realpath(path))}.",
            )
        raise UsageError(f"{printable(argument)} is not a directory", "Name it without the slash.")
    return Target(argument, absolute(parent or b"."), name, status)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _refuse_own_directory(targets: list[Target]) -> None:
    """Refuse the directories that this program works in, and with them `/` under any name."""
    above: dict[tuple[int, int], bytes] = {}
    try:
        at = os.getcwdb()
    except OSError:
        return  # it was removed, so nothing is above it
    while True:
        with suppress(OSError):
            above.setdefault(_identity(os.stat(at)), at)
        if at == b"/":
            break
        at = os.path.dirname(at)
    for target in targets:
        if target.is_directory and _identity(target.status) in above:
            working = os.getcwdb()
            inside = "is" if above[_identity(target.status)] == working else "holds"
            raise UsageError(
                f"{printable(target.argument)} {inside} the working directory {printable(working)}",
                "Change to a directory outside it first.",
            )


def _refuse_mounts(targets: list[Target]) -> None:
    """Refuse what something is mounted on."""
    mounted: dict[bytes, frozenset[bytes]] = {}
    for target in targets:
        below_parent = mounted.get(target.parent)
        if below_parent is None:
            below_parent = mounted[target.parent] = _mounted_in(target.parent)
        if target.name in below_parent or (target.is_directory and os.path.ismount(target.path)):
            raise UsageError(
                f"{printable(target.argument)} is where a file system is mounted",
                "Unmount it first, or name what is in it.",
            )


def _mounted_in(directory: bytes) -> frozenset[bytes]:
    """Return the names in a directory that something is mounted on."""
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return frozenset()
    try:
        return frozenset(path for path in mounts_below(fd) if b"/" not in path)
    except OSError:
        return frozenset()
    finally:
        os.close(fd)


def _once(targets: list[Target]) -> list[Target]:
    """Return the targets without those that are given twice, or lie in others."""
    real: dict[bytes, bytes] = {}  # parents
    for target in targets:
        if target.parent not in real:
            real[target.parent] = os.path.realpath(target.parent)
    places = {child_path(real[target.parent], target.name): target for target in reversed(targets)}
    directories = {place for place, target in places.items() if target.is_directory}
    return [
        target for place, target in reversed(places.items()) if not any(each in directories for each in _above(place))
    ]


def _above(path: bytes) -> Iterator[bytes]:
    while path != b"/":
        path = os.path.dirname(path)
        yield path


def _placed(targets: list[Target], skipped: Tally, options: Options, excluding: int) -> RemovalJob:
    """Return the removal of targets: what every rank opens, and what is removed in there."""
    by_parent: dict[bytes, list[Target]] = {}
    for target in targets:
        by_parent.setdefault(target.parent, []).append(target)
    base = os.path.commonpath(list(by_parent)) if by_parent else b"/"
    roots: list[Root] = []
    called: list[bytes] = []
    pinned: list[Pinned] = []
    named: list[tuple[int, list[Target]]] = []

    def root(path: bytes) -> int:
        roots.append(root_of(path))
        called.append(path[len(base) :].lstrip(b"/"))
        return len(roots) - 1

    for parent, members in by_parent.items():
        directories = [target for target in members if target.is_directory]
        if len(directories) > _PINNED:
            directories = []
        for target in directories:
            fd = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            pinned.append(Pinned(root(target.path), target, fd))
        rest = [target for target in members if not (target.is_directory and directories)]
        if rest:
            named.append((root(parent), rest))
    job = Job(
        options=options,
        sources=tuple(roots),
        run_id=os.urandom(4).hex(),
        landed=tuple(called),
    )
    return RemovalJob(job, targets, skipped, pinned, named, excluding)

"""Before anything is removed: what was meant, and may it go? Everything that must not go is refused here."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from hpcp_mpi.host.mounts import mounts_below
from hpcp_mpi.host.roots import Pin, chain_of, mark_of, pin_of, real_path, seen
from hpcp_mpi.operations.prepare.arguments import Openings, absolute, expanded
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
    parent: Root  # opened before anything was looked at
    name: bytes
    status: os.stat_result  # of the entry itself, which was opened below its parent
    mark: bytes  # shows that it is still that entry
    root: Root | None = None  # a directory, as ranks know it

    @property
    def path(self) -> bytes:
        return child_path(self.parent.path, self.name)

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
            by_type: dict[Tally, list[Target]] = {}
            for target in targets:
                by_type.setdefault(target.tally, []).append(target)
            for tally, members in by_type.items():
                for at in range(0, len(members), _TOGETHER):
                    some = members[at : at + _TOGETHER]
                    names, marks = [target.name for target in some], [target.mark for target in some]
                    units = walks(names, marks) if tally.directories else others(names, tally, marks)
                    yield Batch(kind, source, b"", b"", units)

    def marks(self) -> dict[tuple[int, bytes], bytes]:
        """Return which directories are meant that are removed by name, by (source, name)."""
        return {
            (source, target.name): target.mark
            for source, targets in self._named
            for target in targets
            if target.is_directory
        }


def removable(sources: Iterable[bytes], options: Options) -> RemovalJob:
    """Check what is to be removed. Raises FatalError, and nothing was done then."""
    openings = Openings()
    given = [_target(openings, name) for pattern in sources for name in expanded(pattern)]
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


def _target(openings: Openings, argument: bytes) -> Target:
    """Return what an argument means: an entry of a directory that is opened once, and stays open. Raises FatalError."""
    path = argument.rstrip(b"/")
    parent, name = os.path.split(path)
    if name in (b"", b".", b".."):
        if not path:
            raise UsageError("refused to remove the root directory", "Name what is in it.")
        what = f"{printable(argument)}, which names no entry of a directory"
        raise UsageError(f"refused to remove {what}", "Name what is in it, or its full path.")
    try:
        above = openings.open(absolute(parent or b"."))
        # What has the name now is what is asked about, and what goes: no symlink is followed here.
        parent_pin = pin_of(above)
        pin = Pin(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_pin.fd))
        status, mark = os.fstat(pin.fd), mark_of(pin.fd)
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
    target = Target(argument, above, name, status, mark)
    if not is_directory:
        return target
    return replace(target, root=openings.keep(seen(target.path, os.dup(pin.fd), itself=True)))


def _refuse_own_directory(targets: list[Target]) -> None:
    """Refuse the directories that this program works in, and with them `/` under any name."""
    working = Pin(os.open(b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    above = chain_of(working.fd)
    for target in targets:
        identity = target.status.st_dev, target.status.st_ino
        if target.is_directory and identity in above:
            inside = "is" if above[0] == identity else "holds"
            raise UsageError(
                f"{printable(target.argument)} {inside} the working directory {printable(real_path(working.fd))}",
                "Change to a directory outside it first.",
            )


def _refuse_mounts(targets: list[Target]) -> None:
    """Refuse what something is mounted on."""
    mounted: dict[bytes, frozenset[bytes]] = {}
    for target in targets:
        below_parent = mounted.get(target.parent.path)
        if below_parent is None:
            below_parent = mounted[target.parent.path] = _mounted_in(target.parent)
        if target.name in below_parent or (target.is_directory and target.status.st_dev != target.parent.device):
            raise UsageError(
                f"{printable(target.argument)} is where a file system is mounted",
                "Unmount it first, or name what is in it.",
            )


def _mounted_in(directory: Root) -> frozenset[bytes]:
    """Return the names in a directory that something is mounted on."""
    with suppress(OSError):
        pin = pin_of(directory)
        return frozenset(path for path in mounts_below(pin.fd) if b"/" not in path)
    return frozenset()


def _once(targets: list[Target]) -> list[Target]:
    """Return the targets without those that are given twice, or lie in others."""
    real: dict[bytes, bytes] = {}  # parents
    for target in targets:
        if target.parent.path not in real:
            pin = pin_of(target.parent)
            real[target.parent.path] = real_path(pin.fd)
    places = {child_path(real[target.parent.path], target.name): target for target in reversed(targets)}
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
        by_parent.setdefault(target.parent.path, []).append(target)
    base = os.path.commonpath(list(by_parent)) if by_parent else b"/"
    roots: list[Root] = []
    called: list[bytes] = []
    pinned: list[Pinned] = []
    named: list[tuple[int, list[Target]]] = []

    def add(root: Root) -> int:
        roots.append(root)
        called.append(root.path[len(base) :].lstrip(b"/"))
        return len(roots) - 1

    for members in by_parent.values():
        directories = [target for target in members if target.is_directory]
        if len(directories) > _PINNED:
            directories = []
        pinned += [Pinned(add(target.root), target) for target in directories if target.root is not None]
        rest = [target for target in members if not (target.is_directory and directories)]
        if rest:
            named.append((add(rest[0].parent), rest))
    job = Job(
        options=options,
        sources=tuple(roots),
        run_id=os.urandom(4).hex(),
        landed=tuple(called),
    )
    return RemovalJob(job, targets, skipped, pinned, named, excluding)

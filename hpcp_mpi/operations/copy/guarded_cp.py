"""Running `cp` where other users may exchange what it walks, so that they cannot lead it elsewhere.

Nothing else is as fast, and when it has ended it has to be shown that nothing was exchanged (`host.unchanged`). What
that cannot be shown of is thrown away and copied by descriptor, entry by entry.
"""

import os
from collections.abc import Callable, Sequence, Set
from contextlib import ExitStack, suppress
from functools import partial

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host import cp
from hpcp_mpi.host.commands import Stuck
from hpcp_mpi.host.dirfd import path_of, pinned
from hpcp_mpi.host.unchanged import MountTable
from hpcp_mpi.operations.copy.by_descriptor import MOST_FILES, ByDescriptor
from hpcp_mpi.operations.copy.cp_failures import CpDamage, CpFailures
from hpcp_mpi.vocab.units import Batch, Units

Copied = tuple[CpDamage, dict[bytes, tuple[int, bytes]]]  # what is not good; which are elsewhere: (stage, name in it)


def copy_into(
    context: JobContext, batch: Batch, units: Units, source: int, stage: int, scratch: Callable[[], int]
) -> Copied:
    """Copy units, entries of the directory source, into a stage, or into another one if they need that.

    scratch: returns that other one. Raises OSError, host.commands.Stopped.
    """
    trees = set() if units.plain else {unit.name for unit in units if unit.tally.directories}
    if not trees or context.unchanged(batch.source).still_quiet(source):
        return _guarded(context, batch, units.names, trees, source, stage, scratch), {}
    # Names change in the directory that they are in, so they are looked up once, here.
    damage, apart = CpDamage(), dict[bytes, tuple[int, bytes]]()
    names = [name for name in units.names if name in trees]
    for begin in range(0, len(names), MOST_FILES):
        damage.add(_pinned(context, batch, names[begin : begin + MOST_FILES], source, stage, scratch, apart))
    others = [name for name in units.names if name not in trees]
    if others:
        damage.add(_guarded(context, batch, others, set(), source, stage, scratch))
    return damage, apart


def _guarded(
    context: JobContext,
    batch: Batch,
    units: Sequence[bytes],
    trees: Set[bytes],
    source: int,
    stage: int,
    scratch: Callable[[], int],
) -> CpDamage:
    """Copy units with `cp`; what it may not have found where it is meant to be, by descriptor.

    units: their names. trees: those of directories
    """
    places = {name: (source, name, path_of(stage, name)) for name in units if name in trees} if trees else {}
    command = cp.command(context.options, stage, [*units])
    by_descriptor = partial(ByDescriptor, context, batch, stage)
    with _Guard(context, batch, source) as guard:
        try:
            astray = partial(guard.any_doubtful, places)
            code, stderr = context.commands.run(command, path_of(source), (stage,), astray)
        except Stuck:
            return by_descriptor(scratch()).copy(source, units)
        doubtful = guard.doubtful(places)
    if doubtful and code:
        return by_descriptor(scratch()).copy(source, units)  # whose trouble it was is not known
    damage = CpFailures(context, batch, stage, code, stderr).take(units) if code else CpDamage()
    damage.said += stderr
    if doubtful:
        damage.add(by_descriptor(scratch()).copy(source, [name for name in units if name in doubtful]))
    return damage


def _pinned(
    context: JobContext,
    batch: Batch,
    trees: Sequence[bytes],
    source: int,
    stage: int,
    scratch: Callable[[], int],
    apart: dict[bytes, tuple[int, bytes]],
) -> CpDamage:
    """Copy subtrees that are opened here and that `cp` gets as descriptors.

    trees: their names. apart: gets where they are
    """
    with ExitStack() as stack:
        fds: dict[bytes, int] = {}
        with suppress(OSError):  # copying it by descriptor reports the error
            for name in trees:
                fds[name] = stack.enter_context(pinned(source, name))
        doubtful = set(trees)
        said = b""
        if len(fds) == len(trees):
            other = scratch()
            places = {name: (fd, b".", path_of(other, b"%d" % fd)) for name, fd in fds.items()}
            command = cp.command(context.options, other, [path_of(fd) for fd in fds.values()], follow=True)
            guard = stack.enter_context(_Guard(context, batch, None))
            with suppress(Stuck):
                astray = partial(guard.any_doubtful, places)
                code, said = context.commands.run(command, b"/", (other, *fds.values()), astray)
                doubtful = doubtful if code else guard.doubtful(places)
            apart.update({name: (other, b"%d" % fd) for name, fd in fds.items() if name not in doubtful})
        left = [name for name in trees if name in doubtful]
        damage = ByDescriptor(context, batch, stage, scratch()).copy(source, left) if left else CpDamage()
        damage.said += said
        return damage


class _Guard:
    """What shows after a `cp` whether anything was exchanged on its ways. A context manager."""

    def __init__(self, context: JobContext, batch: Batch, directory: int | None) -> None:
        """directory: where `cp` looks its arguments up; None where it has descriptors of them"""
        self._unchanged = context.unchanged(batch.source)
        self._directory = directory
        self._mounts: MountTable | None = None

    def __enter__(self) -> "_Guard":
        self._mounts = MountTable()
        return self

    def __exit__(self, *_: object) -> None:
        if self._mounts is not None:
            self._mounts.close()

    def doubtful(self, places: dict[bytes, tuple[int, bytes, bytes]]) -> set[bytes]:
        """Return which subtrees `cp` may not have found where they are meant to be.

        places: where they are (directory, name) and the path of their copy, by the name of their unit
        """
        if not places:
            return set()
        if self._mounts is None or self._mounts.changed():
            return set(places)
        found = {name for name, place in places.items() if not self._unchanged.holds(*place)}
        if self._directory is not None and not self._unchanged.still_quiet(self._directory):  # after those were opened
            return set(places)
        return found

    def any_doubtful(self, places: dict[bytes, tuple[int, bytes, bytes]]) -> bool:
        """Return the same of those that `cp` has begun by now: whether there is one."""
        return bool(self.doubtful({name: place for name, place in places.items() if os.path.lexists(place[2])}))

"""Rule: a directory goes when everything in it is gone; rank 0 knows when that is, by counting.

Whoever walks through a directory removes it as well, unless it leaves something in it to others: then it says how many
units, others say how many of them they are done with, and after the last one the directory's turn has come. If anything
stays, so does every directory above it, without a word more. What waits is what has something out or on the stack below
it: memory follows the frontier.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hpcp_mpi.vocab.names import join
from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

# What a directory weighs of which only the name is known: so many entries. With 1, the first chunks on a file system
# that takes 2 ms a call held a hundred directories, and most slots had nothing to do.
_UNKNOWN = Tally(files=99, directories=1)


def walks(names: Iterable[bytes]) -> Units:
    """Return units of directories, which are to be walked through. b"", in the directory b"": what is in the root."""
    names = list(names)
    return Units(names, [0] * len(names), [(_UNKNOWN, None)] * len(names))


def others(names: Iterable[bytes], tally: Tally | None = None) -> Units:
    """Return units of what are no directories. tally: of each, if they are no plain files."""
    names = list(names)
    return Units(names, [0] * len(names), None if tally is None else [(tally, None)] * len(names))


def is_walk(batch: Batch) -> bool:
    """Tell whether a batch is of directories; no batch is of both."""
    more = batch.units.more
    return bool(more) and more[0][0].directories > 0


class Left(NamedTuple):
    """A directory in which others have something to do."""

    source: int
    directory: bytes
    units: int  # that others have to do
    kept: bool  # something in it stays
    again: bool = False  # it was too large to be listed to its end: the next pass is due when the units are done
    gone: int = 0  # entries removed from it by whoever left it


class Finished(NamedTuple):
    """Units of a directory that need nothing more."""

    source: int
    directory: bytes | None  # that they are in; None: the unit was the root
    units: int
    kept: bool  # some of them stay
    gone: int = 0  # of them, entries that were removed


@dataclass(slots=True)
class Told:
    """What a walk tells rank 0."""

    kind: Kind
    found: Tally = NOTHING  # what was listed
    left: list[Left] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)

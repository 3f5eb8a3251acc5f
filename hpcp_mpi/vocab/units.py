"""What is granted, stolen and done: units in batches in chunks.

A unit is what one `cp` argument stands for. A batch holds units of one kind that share a source directory and a
destination directory. A chunk is what a worker is granted, and its tail what a thief gets.

There may be millions of units on the way, so a batch holds them in columns, and they travel as packed bytes.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise, repeat
from typing import Any, NamedTuple

from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, Tally, total_of


class Kind(Enum):
    """What is to be done with a unit."""

    COPY = "copy"  # new or known to differ: stage a copy, rename it into place
    CHECK = "check"  # may be identical: compare what lstat does not show, then copy or write metadata
    LIST = "list"  # a directory of the source: list it beside its counterpart, report to rank 0 what was found
    START_FILE = "start_file"  # a big file: make its stage, or share all its blocks at once
    RANGE = "range"  # a part of a big file; the unit's name is where it begins, in decimal; its tally has its bytes
    FINISH_FILE = "finish_file"  # a big file whose ranges are all copied: give it its metadata and its name
    LINK = "link"  # other names of what was copied; units are as link_unit() makes them
    MKDIR = "mkdir"  # a directory that nothing is copied to
    SET_DIR_METADATA = "set_dir_metadata"  # a directory's metadata, when all in it is done
    CLEAN_STAGE = "clean_stage"  # a stage that a killed run left behind
    REMOVE = "remove"  # entries of a directory, each with all below it
    COUNT = "count"  # the same, but they are only counted
    REMOVE_COPIED = "remove_copied"  # the same of a source, but only what has a copy that is known good
    RMDIR = "rmdir"  # directories that others have emptied; the names of units are paths below the root
    LIST_NAMES = "list_names"  # directories to list for a file list; the names of units are paths below the root
    LIST_EXTRA = "list_extra"  # directories of the destination: name all in them; units are paths below the root
    DESCRIBE = "describe"  # entries to describe in a table of changes
    VERIFY = "verify"  # copies to be read again


DataExtent = tuple[int, int, int]  # a part of a file that is no hole: where it begins and ends, its bytes of data

DEST = -1  # Batch.source of what is done to the destination's own tree


class Unit(NamedTuple):
    """One argument of `cp`: a file, a link, a special file, or a whole new subtree."""

    name: bytes  # in Batch.source_dir; what a sweep removes is in Batch.dest_dir
    tally: Tally = NOTHING  # what it holds
    amount: int = 0  # bytes that have to be read
    dest_name: bytes | None = None  # where it differs from name

    @property
    def target(self) -> bytes:
        return self.name if self.dest_name is None else self.dest_name

    @property
    def entries(self) -> int:
        """How many entries have to be handled."""
        return self.tally.entries or 1


def link_unit(name: bytes, tally: Tally, target: bytes, leader: bytes) -> Unit:
    """Return a unit of LINK: an entry of the source, which is to be at target another name of what is at leader.

    All three are paths below the roots, so none has an empty part.
    """
    return Unit(name, tally, 0, link_target(target, leader))


def link_target(target: bytes, leader: bytes) -> bytes:
    """Return what a unit of LINK has in the place of its target."""
    return target + b"//" + leader


def link_paths(unit: Unit) -> tuple[bytes, bytes]:
    """Return the target and the leader of a unit of LINK, relative to the destination root."""
    target, _, leader = unit.target.partition(b"//")
    return target, leader


class Units:
    """Units in columns. Immutable by convention; iterating makes a Unit of each.

    names:   one per unit
    amounts: bytes that have to be read of each
    more:    (tally, dest_name) of each; None where all are plain files, and amounts are their sizes
    most:    no more bytes than this are read of each; None: all
    """

    __slots__ = ("amount", "amounts", "entries", "more", "most", "names")

    def __init__(
        self,
        names: list[bytes],
        amounts: list[int],
        more: "list[tuple[Tally, bytes | None]] | None" = None,
        most: int | None = None,
    ) -> None:
        self.names = names
        self.amounts = amounts
        self.more = more
        self.most = most
        if most is None or (amounts and max(amounts) <= most):
            self.amount = sum(amounts)
        else:
            self.amount = sum(min(amount, most) for amount in amounts)
        # Tally.entries, without a call for each.
        self.entries = len(names) if more is None else sum(t[0] + t[1] + t[2] + t[3] or 1 for t, _ in more)

    @classmethod
    def of(cls, units: Iterable[Unit]) -> "Units":
        units = list(units)
        return cls([u.name for u in units], [u.amount for u in units], [(u.tally, u.dest_name) for u in units])

    @classmethod
    def joined(cls, parts: "list[Units]") -> "Units":
        """Return the units of several, of each of which all is read."""
        if len(parts) == 1:
            return parts[0]
        if any(not part.plain for part in parts):
            return cls.of(unit for part in parts for unit in part)
        return cls([name for part in parts for name in part.names], [size for part in parts for size in part.amounts])

    @property
    def plain(self) -> bool:
        """Return whether all are plain files under their own names."""
        return self.more is None

    @property
    def targets(self) -> list[bytes]:
        """Return the names that they get."""
        if self.more is None:
            return self.names
        pairs = zip(self.names, self.more, strict=True)
        return [name if dest_name is None else dest_name for name, (_, dest_name) in pairs]

    @property
    def tally(self) -> Tally:
        """Return what all of them hold."""
        if self.more is None:
            return Tally(len(self.names), 0, 0, 0, sum(self.amounts))
        return total_of(tally for tally, _ in self.more)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Unit]:
        if self.more is None:
            return (
                Unit(name, Tally(1, 0, 0, 0, size), size) for name, size in zip(self.names, self.amounts, strict=True)
            )
        return (
            Unit(name, tally, amount, dest_name)
            for name, amount, (tally, dest_name) in zip(self.names, self.amounts, self.more, strict=True)
        )

    def loads(self) -> Iterator[tuple[int, int]]:
        """Yield (entries, amount) of each unit."""
        if self.more is None:
            most = self.most
            return zip(repeat(1), self.amounts if most is None else (min(each, most) for each in self.amounts))
        return ((tally.entries or 1, amount) for amount, (tally, _) in zip(self.amounts, self.more, strict=True))

    def parts(self, limit: float, file_cost: int) -> "list[Units]":
        """Return parts of about limit each: bytes of weight, where an entry weighs file_cost beside its bytes."""
        if self.amount + self.entries * file_cost <= limit:
            return [self] if len(self) else []
        parts: list[Units] = []
        begin = weight = 0
        for end, (entries, amount) in enumerate(self.loads(), 1):
            weight += entries * file_cost + amount
            if weight >= limit:
                parts.append(self[begin:end])
                begin, weight = end, 0
        if begin < len(self):
            parts.append(self[begin:])
        return parts

    def __getitem__(self, part: slice) -> "Units":
        return Units(self.names[part], self.amounts[part], self.more and self.more[part], self.most)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Units) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self.names))

    def __repr__(self) -> str:
        return f"Units.of({list(self)!r})"

    def __reduce__(self) -> Any:
        columns = b"\0".join(self.names), array("q", self.amounts).tobytes(), self._packed_more()
        return _unpacked, (len(self), *columns, self.most)

    def _packed_more(self) -> tuple[bytes, list[bytes | None] | None] | None:
        if self.more is None:
            return None
        counts = array("q", (count for tally, _ in self.more for count in tally)).tobytes()
        dest_names = [dest_name for _, dest_name in self.more]
        return counts, dest_names if any(name is not None for name in dest_names) else None


def _unpacked(
    count: int, names: bytes, amounts: bytes, more: tuple[bytes, list[bytes | None] | None] | None, most: int | None
) -> Units:
    """Undo Units.__reduce__. A name holds no NUL."""
    columns = names.split(b"\0") if count else [], list(_ints(amounts))
    if more is None:
        return Units(*columns, most=most)
    counts = iter(_ints(more[0]))
    tallies = [Tally(*five) for five in zip(*[counts] * len(Tally._fields), strict=True)]
    return Units(*columns, list(zip(tallies, more[1] or [None] * count, strict=True)), most)


def _ints(packed: bytes) -> "array[int]":
    numbers = array("q")
    numbers.frombytes(packed)
    return numbers


@dataclass(frozen=True, slots=True)
class BigFile:
    """A file that is copied in ranges."""

    name: bytes  # in the batch's source_dir
    target: bytes  # in its dest_dir
    size: int  # bytes
    stage: bytes  # the directory in dest_dir that it is copied in; unique in a run, and the copy's name in there
    identity: tuple[int, ...]  # what the source's fstat said at first: host.range_copy.identity
    read_ns: int = 0  # the source's atime before it was read
    failure: str = ""  # why it is not to be finished
    vanished: bool = False  # that failed because the source was gone
    data: int = -1  # about so many bytes of it are no holes; -1: all

    @property
    def holes(self) -> int:
        """How many bytes of it are holes, about."""
        return 0 if self.data < 0 else self.size - self.data


@dataclass(frozen=True, slots=True)
class Batch:
    """Units of one kind between one pair of directories."""

    kind: Kind
    source: int  # which source root, an index; DEST: the destination, where something is removed there
    # Relative to the roots; b"" is the root itself. LINK, MKDIR, SET_DIR_METADATA, LIST: both are b"", and the names of
    # units are paths below the roots.
    source_dir: bytes
    dest_dir: bytes
    units: Units
    over: bool = False  # a non-directory on the way of dest_dir is to be replaced: the scan saw it there
    # SET_DIR_METADATA: they were equal; what this run wrote in them changed their times.
    # REMOVE, COUNT, REMOVE_COPIED: of one directory that is listed again.
    restore: bool = False
    # LIST: missing at the destination. REMOVE_COPIED: something was renamed on the way to source_dir, maybe.
    new: bool = False
    above: bool = False  # LIST: over is true of the directories that these are in, too
    equal: bool = False  # CHECK: files that are equal in all that lstat shows
    big: BigFile | None = None  # RANGE, FINISH_FILE; VERIFY of parts of a file, whose names are where they begin
    # COPY, START_FILE: what is there is a copy that this run made, and that is not good. REMOVE, COUNT, REMOVE_COPIED:
    # of one huge directory, from which nothing more went the last time: it is gone through to its end.
    # SET_DIR_METADATA: this run wrote in the directories, so that no look shows whether their metadata is right.
    again: bool = False
    lossy: bool = False  # VERIFY: some of what is in the units was not copied, and was named
    # COPY: only root and we can exchange what is in source_dir and in all directories of the units, so `cp` may walk
    # them as it likes. LIST: the same of the directory that these are in. False where nobody looked.
    ours: bool = False
    inode: int = 0  # COPY, CHECK, START_FILE: of source_dir when it was listed; 0 where that is not known
    deep: bool = False  # LIST: what is found may be copied at once, as nobody waits for it
    lost: tuple[int, ...] = ()  # LIST: ranks that were lost with it, and may have copied some of what is in there

    @property
    def entries(self) -> int:
        return self.units.entries

    @property
    def amount(self) -> int:
        return self.units.amount

    def weight(self, file_cost: int) -> int:
        """Return its bytes, where an entry counts as file_cost beside those that have to be read."""
        return self.units.entries * file_cost + self.units.amount

    @property
    def below(self) -> Tally:
        """What is below the directories that are units: if the batch is not done, it is found once more."""
        found = NOTHING
        if self.kind in (Kind.COPY, Kind.CHECK) and self.units.more is not None:
            for tally, _ in self.units.more:
                if tally.directories:
                    found = found.plus(tally).minus(ONE_DIRECTORY)
        return found

    def split(self, count: int) -> tuple["Batch", "Batch"]:
        """Return the batches of the first count units and of the rest."""
        return self.with_units(self.units[:count]), self.with_units(self.units[count:])

    def deeper(self) -> "Batch":
        """Return a LIST batch like this one, of which what is found is copied at once."""
        return replace(self, deep=True)

    def with_units(self, units: Units) -> "Batch":
        """Return a batch like this one, of other units. dataclasses.replace takes twice as long."""
        rest = (self.over, self.restore, self.new, self.above, self.equal, self.big)
        more = (self.again, self.lossy, self.ours, self.inode, self.deep, self.lost)
        return Batch(self.kind, self.source, self.source_dir, self.dest_dir, units, *rest, *more)

    def __reduce__(self) -> Any:
        # Half the bytes and a third of the time of what pickle makes of a dataclass.
        rest = (self.over, self.restore, self.new, self.above, self.equal, self.big)
        more = (self.again, self.lossy, self.ours, self.inode, self.deep, self.lost)
        return _batch, (self.kind.value, self.source, self.source_dir, self.dest_dir, self.units, *rest, *more)


def _batch(kind: str, *rest: Any) -> Batch:
    return Batch(Kind(kind), *rest)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Batches that are granted together. `number` is unique in a run."""

    number: int
    batches: tuple[Batch, ...]

    @property
    def entries(self) -> int:
        return sum(batch.entries for batch in self.batches)

    @property
    def amount(self) -> int:
        return sum(batch.amount for batch in self.batches)


def ranges(size: int, length: int, data: Sequence[DataExtent] | None = None, step: int = 1) -> Units:
    """Return the units that cover a file of size bytes: each is called by where it begins, its tally has its bytes.

    length: of data that each has, about. data: the parts that are no holes; None: all
    step:   ranges begin at multiples of it; length is one, too
    """
    starts, amounts, before = [0], [0], 0
    for begin, end, amount in ((0, size, size),) if data is None else data:
        if amounts[-1] >= length and (cut := begin // step * step) >= max(before, starts[-1] + 1):
            starts.append(cut)
            amounts.append(0)
        at, left = begin, amount
        while left:
            more = max(0, length - amounts[-1])
            cut = -(-(at - (-more * (end - at) // left)) // step) * step if more < left else end
            part = left if cut >= end else left * (cut - at) // (end - at)
            amounts[-1] += part
            if cut >= end:
                break
            starts.append(cut)
            amounts.append(0)
            at, left = cut, left - part
        before = end
    if not size:
        return Units([], [])
    spans = [last - first for first, last in pairwise([*starts, size])]
    return Units([b"%d" % start for start in starts], amounts, [(Tally(bytes=span), None) for span in spans])

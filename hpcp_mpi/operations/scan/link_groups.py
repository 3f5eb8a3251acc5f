"""Files with several names, as far as a scan has seen these: which name is copied, and which are linked to it. Pure.

The first name seen of an inode is its leader; later ones are its followers. Who sees only a part of a file's names
records all of them at the end: `scan.deferred` puts the parts together. Of too many files the oldest are given up: all
that is kept in mind is that they have a leader somewhere. Where that is wrongly believed of another file, none of its
names is copied before the end.

Names whose copies are names of one equal file are twins. Where all names of a file are seen as such, nothing of it is
recorded.
"""

from collections import OrderedDict
from collections.abc import Iterable

from hpcp_mpi.operations.scan.records import (
    DeferredRecords,
    EqualNames,
    Folder,
    Follower,
    Inode,
    Linked,
    LinkedName,
    NamesSeen,
    SharedName,
)
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import Tally

_MOST_LEADERS = 150_000  # files of which not all names were seen yet; of more, the oldest are given up
_MOST_FOLLOWERS = 50_000  # names of those that are kept in mind; of more, all are recorded
_BITS = 28  # of the place that stands for a file that was given up: 32 MiB, as far as they are used
_ODD = 0x9E3779B97F4A7C15
SOMEWHERE = b""  # the leader of a name that follows one of those
_MOST_TWINS = 50_000  # names of files with equal ones that are kept in mind; of more, all are recorded
_MOST_NAMES = 16  # of a file with equal ones, in a record: many of these are held in memory


class LinkGroups:
    """The names of files with several.

    partial: names of a file may have been seen that are known no more: end() records those of its others
    seen:    all names, where a ledger remembers them
    """

    def __init__(self, deferred: DeferredRecords) -> None:
        """deferred: takes the records of names that have to be linked, or separated."""
        self.partial = False
        self.seen: list[LinkedName] | None = None
        self._deferred = deferred
        self.names = 0  # that were seen of files with several
        self._files: OrderedDict[Inode, NamesSeen] = OrderedDict()
        self._followers = 0  # that are kept in mind
        self._given_up = _Inodes()
        self._twins: OrderedDict[tuple[Inode, Inode], _Twins] = OrderedDict()
        self._kept = 0  # names of those

    def leader(self, folder: Folder, entry: Linked) -> bytes | None:
        """Record a name in folder; return the leader that it follows, None if it is the first name seen."""
        inode = entry.inode
        self.names += 1
        known = self._files.get(inode)
        if self.seen is not None:
            path = join(folder.dest_dir, entry.name)
            first = known.target if known is not None else SOMEWHERE if inode in self._given_up else path
            self.seen.append(LinkedName(inode, folder.source, join(folder.source_dir, entry.name), path, first, 0))
        if known is None:
            if inode in self._given_up:
                return SOMEWHERE
            if len(self._files) >= _MOST_LEADERS:
                self.partial = True
                oldest, names = self._files.popitem(last=False)
                self._record(oldest, names)
                self._given_up.add(oldest)
            paths = join(folder.source_dir, entry.name), join(folder.dest_dir, entry.name)
            self._files[inode] = NamesSeen(folder.source, *paths, entry.names - 1)
            return None
        known.to_come -= 1
        if not known.to_come:
            del self._files[inode]
            self._followers -= len(known.followers)
        elif not folder.split:  # else it is recorded at once
            known.followers.append((folder, entry.name))
            self._followers += 1
            if self._followers >= _MOST_FOLLOWERS:
                self._record_followers()
        return known.target

    def take_seen(self) -> list[LinkedName]:
        """Return the names that were seen since the last call."""
        seen, self.seen = self.seen or [], []
        return seen

    def end(self) -> None:
        """Record what may have to be put together with what others, or earlier records, know of the same files."""
        self.end_twins()
        if self.partial:
            self.give_up()

    def give_up(self) -> None:
        """Record the names of all files of which not all names were seen: other ranks may see the others."""
        while self._files:
            self._record(*self._files.popitem(last=False))
        self.end_twins()

    def _record_followers(self) -> None:
        """Record the names that are kept in mind: their files may have any number of them."""
        for inode, names in self._files.items():
            if names.followers:
                self._record(inode, names)

    def _record(self, inode: Inode, names: NamesSeen) -> None:
        """Record the names of a file that were not recorded yet."""
        records, leader = self._deferred.linked, names.target
        records.append(LinkedName(inode, names.source, names.path, leader, leader, 0))
        for folder, name in names.followers:
            if not folder.split:  # else it is recorded by now
                paths = join(folder.source_dir, name), join(folder.dest_dir, name)
                records.append(LinkedName(inode, folder.source, *paths, leader, 0))
        self._followers -= len(names.followers)
        names.followers = []

    def twin(self, folder: Folder, entry: Linked) -> bool:
        """Record a name in folder, which is equal to what has that name; return whether it is the file's first one."""
        assert entry.dest_inode is not None
        key = entry.inode, entry.dest_inode
        twins = self._twins.get(key)
        first = twins is None
        if twins is None:
            if len(self._twins) >= _MOST_LEADERS:
                self._record_twins(*self._twins.popitem(last=False))
            twins = self._twins[key] = _Twins(folder, entry)
        twins.add(folder, entry.name)
        self._kept += 1
        if not twins.to_come and twins.recorded:
            del self._twins[key]
            self._record_twins(key, twins)
        elif not twins.to_come and twins.distinct == entry.names:
            del self._twins[key]
            self._kept -= entry.names
        elif self._kept >= _MOST_TWINS:
            for each in self._twins.items():
                self._record_twins(*each)
        return first

    def end_twins(self) -> None:
        """Record the twins of all files of which not all names were seen."""
        while self._twins:
            self._record_twins(*self._twins.popitem(last=False))

    def _record_twins(self, key: tuple[Inode, Inode], twins: "_Twins") -> None:
        """Record names that were not recorded yet: others of the file may be known as no twins, here or elsewhere."""
        self.partial = True
        for source_dir, dest_dir, names in twins.parts:
            self._kept -= len(names)
            for at in range(0, len(names), _MOST_NAMES):
                some = tuple(names[at : at + _MOST_NAMES])
                about = *key, twins.source, twins.leader, twins.number, twins.size
                self._deferred.equal.append(EqualNames(*about, source_dir, dest_dir, some))
        twins.parts, twins.recorded = [], True

    def link(self, folder: Folder, followers: Iterable[Follower]) -> None:
        """Record followers in folder that have to be linked when all leaders are there."""
        source, above, below = folder.source, _prefix(folder.source_dir), _prefix(folder.dest_dir)
        self._deferred.linked += [
            LinkedName(inode, source, above + name, below + name, leader, counts)
            for name, counts, inode, leader in followers
        ]

    def share(self, folder: Folder, name: bytes, tally: Tally, inode: Inode, dest_inode: Inode) -> None:
        """Record a name in folder whose file at the destination has several."""
        paths = join(folder.source_dir, name), join(folder.dest_dir, name)
        size = tally.bytes if tally.files else -1
        self._deferred.shared.append(SharedName(dest_inode, inode, folder.source, *paths, size))


def _prefix(directory: bytes) -> bytes:
    """Return what the paths of all names in a directory begin with."""
    return directory + b"/" if directory else b""


class _Inodes:
    """A set of inodes in little memory: it knows all that were added, and few others as well."""

    def __init__(self) -> None:
        self._places = bytearray()

    def add(self, inode: Inode) -> None:
        self._places = self._places or bytearray(1 << _BITS - 3)
        for place in _places(inode):
            self._places[place >> 3] |= 1 << (place & 7)

    def __contains__(self, inode: Inode) -> bool:
        places = self._places
        return bool(places) and all(places[place >> 3] >> (place & 7) & 1 for place in _places(inode))


def _places(inode: Inode) -> tuple[int, int]:
    """Return two bits that stand for an inode: of numbers that follow each other no two share the first."""
    device, number = inode
    number += device << 20
    return number & (1 << _BITS) - 1, number * _ODD >> 40 & (1 << _BITS) - 1


class _Twins:
    """The names seen of a file with several that are equal to those of a file at the destination."""

    __slots__ = ("leader", "number", "parts", "recorded", "size", "source", "to_come")

    def __init__(self, folder: Folder, entry: Linked) -> None:
        self.source = folder.source
        self.leader = join(folder.dest_dir, entry.name)
        self.number = self.to_come = entry.names
        self.size = entry.tally.bytes
        self.parts: list[tuple[bytes, bytes, list[bytes]]] = []  # (source_dir, dest_dir, names in there)
        self.recorded = False  # some were, and are not in parts

    def add(self, folder: Folder, name: bytes) -> None:
        self.to_come -= 1
        if self.parts and self.parts[-1][1] == folder.dest_dir:
            self.parts[-1][2].append(name)
        else:
            self.parts.append((folder.source_dir, folder.dest_dir, [name]))

    @property
    def distinct(self) -> int:
        """The number of names in parts; a directory may be listed twice."""
        return len({(dest_dir, name) for _, dest_dir, names in self.parts for name in names})


def outside_leaders(folder: Folder) -> list[bytes]:
    """Return the leaders that are not in a folder itself of the followers that are in it."""
    inside = folder.dest_dir + b"/"
    leaders = [leader for _, _, _, leader in folder.followers]
    for child in folder.with_outside_links:
        leaders += child.outside_leaders
    return [leader for leader in leaders if not leader.startswith(inside)]

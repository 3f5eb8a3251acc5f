"""Files with several names, as far as a scan has seen these: which name is copied, and which are linked to it. Pure.

The first name seen of an inode is its leader; later ones are its followers. Who sees only a part of a file's names
records all of them at the end: `scan.deferred` puts the parts together.

Names whose copies are names of one equal file are twins. Where all names of a file are seen as such, nothing of it is
recorded.
"""

from hpcp_mpi.operations.scan.records import (
    DeferredRecords,
    EqualNames,
    Folder,
    Inode,
    Leader,
    Linked,
    LinkedName,
    NamesSeen,
    SharedName,
)
from hpcp_mpi.vocab.paths import join
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Unit

_MOST_LEADERS = 50_000  # files of which not all names were seen yet; of more, the oldest are given up
_MOST_NAMES = 16  # of a file with equal ones, in a record: many of these are held in memory


class LinkGroups:
    """The names of files with several.

    partial: names of a file may have been seen that are known no more: give_up() at the end
    seen:    all names, where a ledger remembers them
    """

    def __init__(self, deferred: DeferredRecords) -> None:
        """deferred: takes the records of names that have to be linked, or separated."""
        self.partial = False
        self.seen: list[LinkedName] | None = None
        self._deferred = deferred
        self._files: dict[Inode, NamesSeen] = {}
        self._twins: dict[tuple[Inode, Inode], _Twins] = {}

    def leader(self, folder: Folder, entry: Linked) -> Leader | None:
        """Record a name in folder; return the leader that it follows, None if it is the first name seen."""
        source_path, path = join(folder.source_dir, entry.name), join(folder.dest_dir, entry.name)
        known = self._files.get(entry.inode)
        if self.seen is not None:
            first = known.leader.target if known is not None else path
            self.seen.append(LinkedName(entry.inode, folder.source, source_path, path, first, 0))
        if known is None:
            if len(self._files) >= _MOST_LEADERS:
                self.partial = True
                self._record(next(iter(self._files)))
            self._files[entry.inode] = NamesSeen(Leader(folder.source, source_path, path), entry.names - 1)
            return None
        known.followers.append((folder.source, source_path, path))
        known.to_come -= 1
        if not known.to_come:
            del self._files[entry.inode]
        return known.leader

    def take_seen(self) -> list[LinkedName]:
        """Return the names that were seen since the last call."""
        seen, self.seen = self.seen or [], []
        return seen

    def give_up(self) -> None:
        """Record the names of all files of which not all names were seen: other ranks may see the others."""
        for inode in list(self._files):
            self._record(inode)
        self.end_twins()

    def _record(self, inode: Inode) -> None:
        """Record all names seen of a file, and forget it."""
        names = self._files.pop(inode)
        for source, path, target in ((*names.leader,), *names.followers):
            self._deferred.linked.append(LinkedName(inode, source, path, target, names.leader.target, 0))

    def twin(self, folder: Folder, entry: Linked) -> bool:
        """Record a name in folder, which is equal to what has that name; return whether it is the file's first one."""
        assert entry.dest_inode is not None
        key = entry.inode, entry.dest_inode
        twins = self._twins.get(key)
        first = twins is None
        if twins is None:
            if len(self._twins) >= _MOST_LEADERS:
                self._record_twins(next(iter(self._twins)))
            twins = self._twins[key] = _Twins(folder, entry)
        if twins.parts and twins.parts[-1][1] == folder.dest_dir:
            twins.parts[-1][2].append(entry.name)
        else:
            twins.parts.append((folder.source_dir, folder.dest_dir, [entry.name]))
        twins.to_come -= 1
        if not twins.to_come and twins.distinct == entry.names:
            del self._twins[key]
        return first

    def end_twins(self) -> None:
        """Record the twins of all files of which not all names were seen."""
        for key in list(self._twins):
            self._record_twins(key)

    def _record_twins(self, key: tuple[Inode, Inode]) -> None:
        twins = self._twins.pop(key)
        inode, dest_inode = key
        for source_dir, dest_dir, names in twins.parts:
            for at in range(0, len(names), _MOST_NAMES):
                some = tuple(names[at : at + _MOST_NAMES])
                about = inode, dest_inode, twins.source, twins.leader, twins.number, twins.size
                self._deferred.equal.append(EqualNames(*about, source_dir, dest_dir, some))

    def link(self, folder: Folder, unit: Unit, inode: Inode, leader: Leader) -> None:
        """Record a follower in folder that has to be linked when all leaders are there."""
        paths = join(folder.source_dir, unit.name), join(folder.dest_dir, unit.name)
        counts = 1 if unit.tally.files else 2 if unit.tally.links else 3
        self._deferred.linked.append(LinkedName(inode, folder.source, *paths, leader.target, counts))

    def share(self, folder: Folder, name: bytes, tally: Tally, inode: Inode, dest_inode: Inode) -> None:
        """Record a name in folder whose file at the destination has several."""
        paths = join(folder.source_dir, name), join(folder.dest_dir, name)
        size = tally.bytes if tally.files else -1
        self._deferred.shared.append(SharedName(dest_inode, inode, folder.source, *paths, size))


class _Twins:
    """The names seen of a file with several that are equal to those of a file at the destination."""

    __slots__ = ("leader", "number", "parts", "size", "source", "to_come")

    def __init__(self, folder: Folder, entry: Linked) -> None:
        self.source = folder.source
        self.leader = join(folder.dest_dir, entry.name)
        self.number = self.to_come = entry.names
        self.size = entry.tally.bytes
        self.parts: list[tuple[bytes, bytes, list[bytes]]] = []  # (source_dir, dest_dir, names in there)

    @property
    def distinct(self) -> int:
        """The number of names; a directory may be listed twice."""
        return len({(dest_dir, name) for _, dest_dir, names in self.parts for name in names})


def outside_leaders(folder: Folder) -> list[bytes]:
    """Return the leaders that are not in a folder itself of the followers that are in it."""
    inside = folder.dest_dir + b"/"
    leaders = [leader.target for _, _, leader in folder.followers]
    for child in folder.with_outside_links:
        leaders += child.outside_leaders
    return [leader for leader in leaders if not leader.startswith(inside)]

"""Files with several names, as far as a scan has seen these: which name is copied, and which are linked to it. Pure.

The first name seen of an inode is its leader; later ones are its followers. Who sees only a part of a file's names
records all of them at the end: `scan.deferred` puts the parts together.
"""

from hpcp_mpi.operations.scan.records import (
    DeferredRecords,
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

    @property
    def incomplete(self) -> int:
        """How many files there are of which not all names were seen."""
        return len(self._files)

    def take_seen(self) -> list[LinkedName]:
        """Return the names that were seen since the last call."""
        seen, self.seen = self.seen or [], []
        return seen

    def give_up(self) -> None:
        """Record the names of all files of which not all names were seen: other ranks may see the others."""
        for inode in list(self._files):
            self._record(inode)

    def _record(self, inode: Inode) -> None:
        """Record all names seen of a file, and forget it."""
        names = self._files.pop(inode)
        for source, path, target in ((*names.leader,), *names.followers):
            self._deferred.linked.append(LinkedName(inode, source, path, target, names.leader.target, 0))

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


def outside_leaders(folder: Folder) -> list[bytes]:
    """Return the leaders that are not in a folder itself of the followers that are in it."""
    inside = folder.dest_dir + b"/"
    leaders = [leader.target for _, _, leader in folder.followers]
    for child in folder.with_outside_links:
        leaders += child.outside_leaders
    return [leader for leader in leaders if not leader.startswith(inside)]

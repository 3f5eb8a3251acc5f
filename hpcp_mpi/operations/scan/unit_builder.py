"""From listings to units: which subtrees are copied whole, and what is done entry by entry.

A directory that is missing at the destination is *closed* while it is light: all below it collapses into one unit that
one `cp` copies at its own speed. It is *opened* (made by us, filled by several units, settled at the end) when it grows
heavier than a bite, or holds what `cp` must not copy or may not: an excluded entry, a socket, an unreadable directory,
a path too long for it, a file that is copied in ranges. Opening a directory opens its parents.

Hard links: the first name seen of an inode is its leader and is copied like any file. Later names are followers. `cp`
keeps links inside one unit, so a follower whose leader is in the same unit needs nothing; any other is recorded, and
linked when all leaders are there. A closed directory with a follower of an outside leader is opened before it is
emitted. `scan.link_groups` knows the names.

What has to wait for the end of the run is handed out too (`deferred`), so that nothing here grows with the tree.
Pure: listings in, batches out. Not thread-safe; the scan holds a lock around each call.
"""

from collections.abc import Callable, Iterable, Sequence

from hpcp_mpi.operations.scan import batches
from hpcp_mpi.operations.scan.in_bulk import below, parted, with_leaves, with_links
from hpcp_mpi.operations.scan.link_groups import LinkGroups, outside_leaders
from hpcp_mpi.operations.scan.records import (
    CONTENT_CHANGED,
    COUNTS,
    ClassifiedEntries,
    DeferredRecords,
    Extra,
    Folder,
    Follower,
    Leaf,
    Linked,
    SymlinkTarget,
    directory_metadata,
    settling,
)
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, ONE_LINK, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Unit, Units

MAX_INNER_PATH = 3000  # bytes below a unit's directory; cp works with path strings and fails at PATH_MAX, 4096
MAX_GUARDED_PATH = 200  # the same where others may exchange directories: each one on the way is held open
BATCH = 4
_FIRST = 32  # the first batches are so much lighter than later ones: idle workers wait for them
_LINKS = 3  # symlinks that weigh as much as a file: each takes 4 requests to a server, a file 10 and more

_FILES, _DIRECTORIES, _BYTES = map(Tally._fields.index, ("files", "directories", "bytes"))


class UnitBuilder:
    """Collects listings into batches. Read and empty `out` and `deferred` after each call.

    limit:      the weight of a unit: closed directories grow no heavier. Batches can be divided: BATCH times it
    file_cost:  what an entry weighs beside its bytes
    check_size: bytes of a file that a check reads at each side; None: all of them
    collapse:   False where no directory may be copied whole (-nds, -do)
    split_size: files of this size and more are copied in ranges; 0: none
    hand_on:    directories found are LIST units for any rank, instead of folders of this UnitBuilder's
    """

    def __init__(
        self, limit: int, file_cost: int, check_size: int | None, collapse: bool = True, split_size: int = 0
    ) -> None:
        self.limit = limit
        self._enough = max(1, limit // _FIRST)  # weight at which an opened directory emits what it holds
        self.file_cost = file_cost
        self.check_size = check_size
        self.collapse = collapse
        self.split_size = split_size
        self.hand_on = False
        self.out: list[Batch] = []
        self.deferred = DeferredRecords()
        self.links = LinkGroups(self.deferred)
        self.lost: Callable[[bytes, int], None] = lambda path, mtime_ns: None  # takes times that cannot be stored
        self.skipped = NOTHING  # what was found and needs nothing
        self.placed = 0  # directories to settle that were not found, but for entries in them
        self._scanned = [0] * len(NOTHING)  # a Tally that is counted up
        self.holes = 0  # of its bytes: of files that were found to be copied

    @property
    def scanned(self) -> Tally:
        """Return what was found so far."""
        return Tally(*self._scanned)

    def count(self, tally: Tally) -> None:
        """Count what was found elsewhere."""
        for index, number in enumerate(tally):
            if number:
                self._scanned[index] += number

    def fill(self) -> None:
        """Make no small batches at first: nobody gets what is found before a while."""
        self._enough = BATCH * self.limit

    def root(self, source: int, dest_dir: bytes, new: bool, over: bool = False) -> Folder:
        """Return the folder of a source root, opened: roots are never one unit."""
        folder = self.place(source, b"", dest_dir)
        folder.new, folder.needs_metadata, folder.replaces_file = new, new, over
        folder.counted = True
        self.count(ONE_DIRECTORY)
        return folder

    def place(self, source: int, source_dir: bytes, dest_dir: bytes) -> Folder:
        """Return a folder for single entries: not a directory that is copied itself."""
        folder = Folder(None, source, source_dir, dest_dir, b"")
        folder.split, folder.new, folder.counted = True, False, False
        return folder

    def child(self, parent: Folder, name: bytes, new: bool, over: bool) -> Folder:
        """Return the folder of a directory in parent; it is to be listed and closed."""
        return below(parent, [(name, new, over)], self.collapse, self.file_cost)[0]

    def add(self, folder: Folder, listing: ClassifiedEntries) -> list[Folder]:
        """Add some entries of a folder; return its directories, which are to be listed and closed too."""
        if listing.plain[0]:
            self._add_plain(folder, *listing.plain)
        if listing.same is not NOTHING:
            self.skipped = self.skipped.plus(listing.same)
            self.count(listing.same)
            folder.count(listing.same)
        if listing.equal[0]:
            self._add_equal(folder, *listing.equal)
        for name, tally, holes in listing.sparse:
            self._add_entry(folder, name, tally, False, holes)
        if listing.others:
            self._add_others(folder, listing.others)
        for entry in listing.existing:
            self._add_entry(folder, entry.name, entry.tally, True)
            if entry.dest_inode is not None:
                self.links.share(folder, entry.name, entry.tally, entry.inode, entry.dest_inode)
        if listing.linked:
            self._add_linked(folder, listing.linked)
        if listing.twins:
            self._add_twins(folder, listing.twins)
        for beyond in listing.beyond:
            self.lost(*beyond)
        if listing.sweeps:
            self.out.append(batches.sweeping(folder, listing.sweeps))
        for extra in listing.extras:
            self.deferred.extras.append(Extra(folder.dest_dir, *extra, folder.source, folder.source_dir))
        if listing.tracked:
            self.deferred.tracked += [SymlinkTarget(*each, folder.source) for each in listing.tracked]
        self._scanned[_DIRECTORIES] += len(listing.folders) + listing.refused
        if listing.leaves:
            self._add_leaves(folder, listing.leaves)
        children = below(folder, listing.folders, self.collapse, self.file_cost) if listing.folders else []
        if listing.open:
            self._open(folder)
        self._relieve(folder)
        if self.hand_on and children:
            self.hand_over(children)
            return []
        return children

    def _add_leaves(self, folder: Folder, leaves: list[Leaf]) -> None:
        """Add directories that were listed to their ends. Most are light, and become units of folder without ado."""
        most = min(self.split_size, self.limit) if self.split_size else self.limit
        counted, others = with_leaves(folder, leaves, self.file_cost, most if self.collapse else 0, MAX_GUARDED_PATH)
        self.count(counted)
        for leaf in others:
            self._add_leaf(folder, leaf)

    def _add_leaf(self, folder: Folder, leaf: Leaf) -> None:
        """Add a directory as one that was found, and then listed."""
        self._scanned[_DIRECTORIES] += 1
        child = self.child(folder, leaf.name, True, False)
        child.ours, child.inode = leaf.ours, leaf.inode
        self.add(child, ClassifiedEntries((leaf.names, leaf.sizes)))
        self.close(child)

    def hand_over(self, folders: Sequence[Folder]) -> None:
        """Have other ranks list folders that nothing was added to; what they lie in is opened."""
        parents: dict[int, Folder] = {}
        for folder in folders:
            if folder.parent is None:
                self.count(Tally(directories=-1))  # a root: the rank that lists it counts it
            else:
                self._open(folder.parent)
                folder.parent.children -= 1
                parents[id(folder.parent)] = folder.parent
        for parent in parents.values():
            self._ascend(parent)
        self.out += batches.listing(folders, self.file_cost)

    def close(self, folder: Folder) -> None:
        """Record that all entries of a folder were added."""
        folder.listed = True
        self._ascend(folder)

    def unlisted(self, folder: Folder, vanished: bool) -> None:
        """Record that folder could not be listed, or not to its end."""
        if vanished and folder.empty:
            self.forget(folder)
        else:
            self.refuse(folder)

    def forget(self, folder: Folder) -> None:
        """Record that folder is gone: nothing of it was added, and nothing is made in its place."""
        self.count(Tally(directories=-1))
        if folder.parent is not None:
            folder.parent.children -= 1
            self._ascend(folder.parent)

    def _ascend(self, at: Folder | None) -> None:
        """Finish a folder if all in it is done, then its parent if that was the last one in there, and so on."""
        while at is not None and at.listed and at.children == 0:
            if at.split:
                self._finish(at)
            else:
                self._collapse(at)
            at = at.parent
            if at is not None:
                at.children -= 1

    def refuse(self, folder: Folder) -> None:
        """Record that folder could not be listed: it is made, not copied."""
        self._open(folder)
        self.close(folder)

    def _add_plain(self, folder: Folder, names: list[bytes], sizes: list[int]) -> None:
        total = sum(sizes)
        self._scanned[_FILES] += len(names)
        self._scanned[_BYTES] += total
        if self.split_size and max(sizes) >= self.split_size:
            names, sizes, big = parted(names, sizes, self.split_size)
            for name, size in big:
                self._start_file(folder, Unit(name, one_file(size)))
            total = sum(sizes)
        folder.names += names
        folder.sizes += sizes
        folder.files += len(names)
        folder.bytes += total
        folder.weight += total + len(names) * self.file_cost
        if names:
            folder.longest_path = max(folder.longest_path, max(map(len, names)))

    def _start_file(self, folder: Folder, unit: Unit) -> None:
        """Have a big file copied in ranges."""
        self._open(folder)
        folder.count(unit.tally)
        folder.emitted = True
        self.out.append(batches.starting(folder, unit))

    def _add_equal(self, folder: Folder, names: list[bytes], sizes: list[int]) -> None:
        self.count(Tally(len(names), 0, 0, 0, sum(sizes)))
        folder.equal[0].extend(names)
        folder.equal[1].extend(sizes)
        folder.weight += len(names) * self.file_cost + 2 * Units(names, sizes, most=self.check_size).amount

    def _add_others(self, folder: Folder, others: list[tuple[bytes, Tally]]) -> None:
        """Add entries to copy that are no new files. Most are symlinks: they are counted together."""
        if any(tally is not ONE_LINK for _, tally in others):
            for name, tally in others:
                self._add_entry(folder, name, tally, False)
            return
        self.count(with_links(folder, [name for name, _ in others], self.file_cost // _LINKS))

    def _add_entry(self, folder: Folder, name: bytes, tally: Tally, check: bool, holes: int = 0) -> None:
        self.count(tally)
        if check:
            unit = Unit(name, tally, 2 * self._read(tally.bytes))
            folder.checks.append(unit)
            holes = 0  # what it has is not known to be copied
        elif self.split_size and tally.bytes >= self.split_size:
            self._start_file(folder, Unit(name, tally))
            self.holes += holes
            return
        else:
            unit = Unit(name, tally, tally.bytes - holes)
            folder.units.append(unit)
        self.holes += holes
        folder.holes += holes
        folder.count(tally)
        folder.longest_path = max(folder.longest_path, len(name))
        folder.weight += unit.amount + (self.file_cost // _LINKS if tally.links else self.file_cost)

    def _read(self, size: int) -> int:
        return size if self.check_size is None else min(size, self.check_size)

    def _add_linked(self, folder: Folder, entries: Iterable[Linked]) -> None:
        """Add files with several names, in one loop: there are trees of little else."""
        links, of = self.links, [0] * len(COUNTS)  # how many followers count as what
        names: list[bytes] = []
        sizes: list[int] = []
        followers: list[Follower] = []
        for entry in entries:
            name, tally, inode, _, existing, dest_inode, holes = entry
            leader = links.leader(folder, entry)
            if leader is None:
                if tally.files and not (existing or holes):
                    names.append(name)
                    sizes.append(tally.bytes)
                    continue
                self._add_entry(folder, name, tally, existing, holes)
                if existing and dest_inode is not None:
                    links.share(folder, name, tally, inode, dest_inode)
                continue
            counts = 1 if tally.files else 2 if tally.links else 3
            of[counts] += 1
            followers.append((name, counts, inode, leader))
            if len(name) > folder.longest_path:
                folder.longest_path = len(name)
        if names:
            self._add_plain(folder, names, sizes)
        found = Tally(of[1], 0, of[2], of[3], 0)
        self.count(found)
        if folder.split:
            links.link(folder, followers)
        else:
            folder.followers += followers
            folder.count(found)
            folder.weight += len(followers) * self.file_cost

    def _add_twins(self, folder: Folder, entries: list[Linked]) -> None:
        """Count names that need nothing, unless others show that they are not those of one file."""
        size = sum(entry.tally.bytes for entry in entries if self.links.twin(folder, entry))
        found = Tally(files=len(entries), bytes=size)
        self.skipped = self.skipped.plus(found)
        self.count(found)
        folder.count(found)

    # --- directories

    def _relieve(self, folder: Folder) -> None:
        """Keep folder within the limits: emit what an opened one holds, open one that is too heavy."""
        if folder.split:
            if folder.weight >= self._enough:
                self._enough = min(BATCH * self.limit, 2 * self._enough)
                self.flush(folder)
        elif folder.weight >= self.limit or folder.longest_path > self._longest(folder):
            self._open(folder)

    def _longest(self, folder: Folder) -> int:
        return MAX_INNER_PATH if folder.ours and folder.ours_below else min(MAX_INNER_PATH, MAX_GUARDED_PATH)

    def _collapse(self, folder: Folder) -> None:
        """Hand a finished, closed folder to its parent."""
        parent = folder.parent
        assert parent is not None
        if folder.followers or folder.with_outside_links:
            folder.outside_leaders = outside_leaders(folder)
        if folder.outside_leaders and parent.split:
            self._open(folder)
            self._finish(folder)
            return
        tally = folder.tally
        if folder.outside_leaders:
            parent.with_outside_links.append(folder)
        else:
            parent.units.append(Unit(folder.name, tally, folder.bytes - folder.holes))
            folder.names, folder.sizes, folder.units, folder.followers = [], [], [], []  # it may be remembered
        parent.absorb(folder, tally)
        self._relieve(parent)

    def _open(self, folder: Folder) -> None:
        """Open folder and its parents, outermost first, and what in them waits for that."""
        chain: list[Folder] = []
        at: Folder | None = folder
        while at is not None and not at.split:
            chain.append(at)
            at = at.parent
        waiting: list[Folder] = []
        for each in reversed(chain):
            waiting += self._open_one(each)
            self.flush(each)
        while waiting:  # finished before; a loop, as a tree may be deeper than the interpreter's stack
            each = waiting.pop()
            waiting += self._open_one(each)
            self._finish(each)

    def _open_one(self, folder: Folder) -> list[Folder]:
        folder.split = folder.needs_metadata = True
        self.links.link(folder, folder.followers)
        folder.followers = []
        tentative, folder.with_outside_links = folder.with_outside_links, []
        return tentative

    def _finish(self, folder: Folder) -> None:
        self.flush(folder)
        if folder.needs_metadata:
            self.deferred.settled += settling(folder)
            self.placed += not folder.counted
        elif folder.counted and not folder.new:
            self.skipped = self.skipped.plus(ONE_DIRECTORY)
        parent = folder.parent
        if folder.new and parent is not None and not parent.new:
            self.deferred.settled.append(
                directory_metadata(parent.source, parent.source_dir, parent.dest_dir, CONTENT_CHANGED)
            )
        if folder.new and not folder.emitted:
            self.out.append(batches.making(folder))

    def flush(self, folder: Folder) -> None:
        """Emit what folder holds as batches of about a bite each."""
        if folder.names or folder.units or folder.equal[0] or folder.checks:
            self.out += batches.held(folder, BATCH * self.limit, self.file_cost, self.check_size)
        folder.weight = folder.longest_path = 0
        folder.ours_below = True

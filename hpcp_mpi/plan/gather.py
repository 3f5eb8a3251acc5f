"""From listings to units: which subtrees are copied whole, and what is done entry by entry.

A directory that is missing at the destination is *closed* while it is light: all below it collapses into one unit that
one `cp` copies at its own speed. It is *opened* (made by us, filled by several units, settled at the end) when it grows
heavier than a bite, or holds what `cp` must not copy or may not: an excluded entry, a socket, an unreadable directory,
a path too long for it. Opening a directory opens its parents.

Hard links: the first name seen of an inode is its leader and is copied like any file. Later names are followers. `cp`
keeps links inside one unit, so a follower whose leader is in the same unit needs nothing; any other becomes a LINK,
made when all leaders are there. A closed directory with a follower of an outside leader is opened before it is emitted.

Pure: listings in, batches out. Not thread-safe; the scan holds a lock around each call.
"""

from collections.abc import Iterable, Iterator

from hpcp_mpi.plan.listed import Folder, Inode, Linked, Listing
from hpcp_mpi.vocab.names import join
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Kind, Unit

MAX_INNER_PATH = 3000  # bytes below a unit's directory; cp works with path strings and fails at PATH_MAX, 4096

_FIRST = 32  # the first batches are so much lighter than later ones: idle workers wait for them


class Gather:
    """Collects listings into batches. Read and empty `out` after each call.

    limit:      the weight of a unit: closed directories grow no heavier, batches hardly
    file_cost:  what an entry weighs beside its bytes
    check_size: bytes of a file that a check reads at each side; None: all of them
    collapse:   False where no directory may be copied whole (-nds, -do)
    """

    def __init__(self, limit: int, file_cost: int, check_size: int | None, collapse: bool = True) -> None:
        self.limit = limit
        self._enough = max(1, limit // _FIRST)  # weight at which an opened directory emits what it holds
        self.file_cost = file_cost
        self.check_size = check_size
        self.collapse = collapse
        self.out: list[Batch] = []
        self.settle: list[Folder] = []
        self.made_in: set[tuple[int, bytes, bytes]] = set()  # existing directories in which new ones were made
        self._scanned = [0, 0, 0, 0, 0]  # a Tally that is counted up
        self._leaders: dict[Inode, tuple[bytes, int]] = {}  # inode: (leader's path, names to come)
        self._owner: dict[Inode, Inode] = {}  # destination inode: the source inode it is a copy of
        self._links: dict[tuple[bytes, int], list[Unit]] = {}  # (leader, source): its followers

    @property
    def scanned(self) -> Tally:
        """Return what was found so far."""
        return Tally(*self._scanned)

    def root(self, source: int, dest_dir: bytes, new: bool, over: bool = False) -> Folder:
        """Return the folder of a source root, opened: roots are never one unit."""
        folder = self.place(source, dest_dir)
        folder.new, folder.settle, folder.over = new, new, over
        self._count(ONE_DIRECTORY)
        return folder

    def place(self, source: int, dest_dir: bytes) -> Folder:
        """Return a folder for single entries: not a directory that is copied itself."""
        folder = Folder(None, source, b"", dest_dir, b"")
        folder.opened, folder.new = True, False
        return folder

    def add(self, folder: Folder, listing: Listing) -> list[Folder]:
        """Take some of folder's entries; return its directories, which are to be listed and closed too."""
        for name, size in listing.plain:
            folder.bytes += size
            folder.weight += size
            if len(name) > folder.inner:
                folder.inner = len(name)
        folder.plain += listing.plain
        folder.files += len(listing.plain)
        folder.weight += len(listing.plain) * self.file_cost
        self._count(Tally(len(listing.plain), 0, 0, 0, sum(size for _, size in listing.plain)))
        for name, tally in listing.others:
            self._take(folder, name, tally, False)
        for entry in listing.existing:
            self._take(folder, entry.name, entry.tally, self._keeps(entry.inode, entry.dest_inode))
        for linked in listing.linked:
            self._take_linked(folder, linked)
        if listing.sweeps:
            units = tuple(Unit(name, self.file_cost) for name in listing.sweeps)
            self.out.append(Batch(Kind.SWEEP, folder.source, folder.source_dir, folder.dest_dir, units))
        children = [self._child(folder, *each) for each in listing.folders]
        if listing.open:
            self._open(folder)
        self._relieve(folder)
        return children

    def close(self, folder: Folder) -> None:
        """Note that all of folder's entries were added."""
        folder.listed = True
        self._ascend(folder)

    def forget(self, folder: Folder) -> None:
        """Note that folder is gone: nothing of it was added, and nothing is made in its place."""
        self._count(Tally(directories=-1))
        if folder.parent is not None:
            folder.parent.children -= 1
            self._ascend(folder.parent)

    def _ascend(self, at: Folder | None) -> None:
        """Finish a folder if all in it is done, then its parent if that was the last one in there, and so on."""
        while at is not None and at.listed and at.children == 0:
            if at.opened:
                self._finish(at)
            else:
                self._collapse(at)
            at = at.parent
            if at is not None:
                at.children -= 1

    def refuse(self, folder: Folder) -> None:
        """Note that folder could not be listed: it is made, not copied."""
        self._open(folder)
        self.close(folder)

    def settle_batches(self, touched: Iterable[tuple[int, bytes, bytes]]) -> list[Batch]:
        """Return the settling of all directories whose metadata is to be written.

        touched: (source, source_dir, dest_dir) of existing ones that were written to.
        Where several sources merge in one directory, the last source's metadata is what it gets.
        """
        wanted = sorted({*touched, *((each.source, each.source_dir, each.dest_dir) for each in self.settle)})
        last = {dest_dir: (source, source_dir) for source, source_dir, dest_dir in wanted}
        new = {each.dest_dir for each in self.settle if each.new}
        differed = {each.dest_dir for each in self.settle}
        groups: dict[tuple[int, bool], list[Unit]] = {}
        for dest_dir, (source, source_dir) in last.items():
            made = ONE_DIRECTORY if dest_dir in new else NOTHING
            group = groups.setdefault((source, dest_dir not in differed), [])
            group.append(Unit(source_dir, self.file_cost, made, dest_dir))
        return [
            Batch(Kind.SETTLE, source, b"", b"", bite, restore=restore)
            for (source, restore), units in groups.items()
            for bite in self._bites(units)
        ]

    def link_batches(self) -> list[Batch]:
        """Return the links that are to be made when everything else is copied."""
        return [
            Batch(Kind.LINK, source, b"", b"", tuple(units), leader) for (leader, source), units in self._links.items()
        ]

    # --- entries

    def _take(self, folder: Folder, name: bytes, tally: Tally, check: bool) -> None:
        self._count(tally)
        folder.count(tally)
        folder.inner = max(folder.inner, len(name))
        if check:
            read = tally.bytes if self.check_size is None else min(tally.bytes, self.check_size)
            unit = Unit(name, self.file_cost + 2 * read, tally)
            folder.checks.append(unit)
        else:
            unit = Unit(name, self.file_cost + tally.bytes, tally)
            folder.units.append(unit)
        folder.weight += unit.weight

    def _take_linked(self, folder: Folder, entry: Linked) -> None:
        path = join(folder.dest_dir, entry.name)
        known = self._leaders.get(entry.inode)
        if known is None:
            self._leaders[entry.inode] = path, entry.names - 1
            self._take(folder, entry.name, entry.tally, entry.existing and self._keeps(entry.inode, entry.dest_inode))
            return
        leader, to_come = known
        if to_come == 1:
            del self._leaders[entry.inode]
        else:
            self._leaders[entry.inode] = leader, to_come - 1
        unit = Unit(entry.name, self.file_cost, entry.tally._replace(bytes=0))
        self._count(unit.tally)
        folder.inner = max(folder.inner, len(entry.name))
        if folder.opened:
            self._link(folder, unit, leader)
        else:
            folder.count(unit.tally)
            folder.weight += unit.weight
            folder.followers.append((unit, leader))

    def _keeps(self, inode: Inode, dest_inode: Inode | None) -> bool:
        """Tell whether the destination's inode may stay: not if another source file has it already."""
        return dest_inode is None or self._owner.setdefault(dest_inode, inode) == inode

    def _link(self, folder: Folder, unit: Unit, leader: bytes) -> None:
        link = unit._replace(name=join(folder.source_dir, unit.name), dest_name=join(folder.dest_dir, unit.name))
        self._links.setdefault((leader, folder.source), []).append(link)

    def _child(self, folder: Folder, name: bytes, new: bool, over: bool) -> Folder:
        child = Folder(folder, folder.source, join(folder.source_dir, name), join(folder.dest_dir, name), name)
        child.new, child.over = new, over or folder.over
        child.opened = not (new and self.collapse)
        child.settle = child.opened and new
        child.weight = self.file_cost
        folder.children += 1
        self._count(ONE_DIRECTORY)
        return child

    def _count(self, tally: Tally) -> None:
        for index, count in enumerate(tally):
            self._scanned[index] += count

    # --- directories

    def _relieve(self, folder: Folder) -> None:
        """Keep folder within the limits: emit what an opened one holds, open one that is too heavy."""
        if folder.opened:
            if folder.weight >= self._enough:
                self._enough = min(self.limit, 2 * self._enough)
                self._flush(folder)
        elif folder.weight >= self.limit or folder.inner > MAX_INNER_PATH:
            self._open(folder)

    def _collapse(self, folder: Folder) -> None:
        """Hand a finished, closed folder to its parent."""
        parent = folder.parent
        assert parent is not None
        inside = folder.dest_dir + b"/"
        leaders = [leader for _, leader in folder.followers]
        for child in folder.tentative:
            leaders += child.unresolved
        folder.unresolved = [leader for leader in leaders if not leader.startswith(inside)]
        if folder.unresolved and parent.opened:
            self._open(folder)
            self._finish(folder)
            return
        if folder.unresolved:
            parent.tentative.append(folder)
        else:
            parent.units.append(Unit(folder.name, folder.weight, folder.tally))
        parent.count(folder.tally)
        parent.weight += folder.weight
        parent.inner = max(parent.inner, len(folder.name) + 1 + folder.inner)
        self._relieve(parent)

    def _open(self, folder: Folder) -> None:
        """Open folder and its parents, outermost first, and what in them waits for that."""
        chain: list[Folder] = []
        at: Folder | None = folder
        while at is not None and not at.opened:
            chain.append(at)
            at = at.parent
        waiting: list[Folder] = []
        for each in reversed(chain):
            waiting += self._open_one(each)
            self._flush(each)
        while waiting:  # finished before; a loop, as a tree may be deeper than the interpreter's stack
            each = waiting.pop()
            waiting += self._open_one(each)
            self._finish(each)

    def _open_one(self, folder: Folder) -> list[Folder]:
        folder.opened = folder.settle = True
        for unit, leader in folder.followers:
            self._link(folder, unit, leader)
        folder.followers = []
        tentative, folder.tentative = folder.tentative, []
        return tentative

    def _finish(self, folder: Folder) -> None:
        self._flush(folder)
        if folder.settle:
            self.settle.append(folder)
        parent = folder.parent
        if folder.new and parent is not None and not parent.new:
            self.made_in.add((parent.source, parent.source_dir, parent.dest_dir))
        if folder.new and not folder.emitted:
            self._make(folder)

    def _make(self, folder: Folder) -> None:
        unit = Unit(folder.source_dir, self.file_cost, NOTHING, folder.dest_dir)
        self.out.append(Batch(Kind.MAKE, folder.source, b"", b"", (unit,), over=folder.over))

    def _flush(self, folder: Folder) -> None:
        """Emit what folder holds as batches of about a bite each."""
        copies = [Unit(name, size + self.file_cost, one_file(size)) for name, size in folder.plain]
        copies += folder.units
        folder.emitted = folder.emitted or bool(copies)
        for kind, units in ((Kind.COPY, copies), (Kind.CHECK, folder.checks)):
            for bite in self._bites(units):
                self.out.append(Batch(kind, folder.source, folder.source_dir, folder.dest_dir, bite, over=folder.over))
        folder.plain, folder.units, folder.checks = [], [], []
        folder.weight = folder.inner = 0

    def _bites(self, units: Iterable[Unit]) -> Iterator[tuple[Unit, ...]]:
        bite: list[Unit] = []
        weight = 0
        for unit in units:
            bite.append(unit)
            weight += unit.weight
            if weight >= self.limit:
                yield tuple(bite)
                bite, weight = [], 0
        if bite:
            yield tuple(bite)

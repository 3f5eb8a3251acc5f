"""Random trees for the tests of the UnitBuilder, and what is to become of them.

Everything that is expected is told from the tree itself; nothing here knows how UnitBuilder works.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import strategies as st

from hpcp_mpi.operations.scan.records import ClassifiedEntries, Existing, Inode, Linked
from hpcp_mpi.vocab.tally import ONE_LINK, ONE_SPECIAL, Tally, one_file

Path = tuple[int, bytes]  # (source, path below its root)


@dataclass
class Item:
    """What is not a directory."""

    name: bytes
    kind: str  # file, link, special
    size: int
    existing: bool  # may be identical at the destination
    inode: Inode
    dest_inode: Inode | None
    linked: bool  # its inode has several names
    excluded: bool

    @property
    def equal(self) -> bool:
        """Return whether all that lstat shows is equal: here, of every second one."""
        return self.existing and self.kind == "file" and not self.linked and not self.dest_inode and self.size % 2 == 0


@dataclass
class Dir:
    """A directory.

    refused: it turns out that it cannot be listed to its end
    differs: it is at the destination, with other metadata
    ours:    only root and we can exchange what it holds
    """

    name: bytes
    new: bool
    over: bool = False
    refused: bool = False
    differs: bool = False
    ours: bool = True
    items: list[Item] = field(default_factory=list)
    dirs: list[Dir] = field(default_factory=list)

    def walk(self, path: bytes = b"") -> Iterator[tuple[bytes, Dir]]:
        """Yield (path, directory) of this one and all below it."""
        waiting = [(path, self)]
        while waiting:
            at, directory = waiting.pop()
            yield at, directory
            waiting += [(joined(at, each.name), each) for each in directory.dirs]


@dataclass
class Forest:
    """One tree for each source, and where it lands."""

    roots: list[tuple[bytes, Dir]]  # (directory below the destination root, tree)

    def dirs(self) -> dict[Path, Dir]:
        return {(source, path): each for source, (_, root) in enumerate(self.roots) for path, each in root.walk()}

    def items(self) -> dict[Path, Item]:
        return {
            (source, joined(path, item.name)): item
            for (source, path), directory in self.dirs().items()
            for item in directory.items
        }

    def wanted(self) -> dict[Path, Item]:
        """What is not excluded."""
        return {path: item for path, item in self.items().items() if not item.excluded}

    def tally(self) -> Tally:
        """Return what there is to do: the bytes of an inode count once, whatever names it has."""
        total = Tally(directories=len(self.dirs()))
        seen: set[Inode] = set()
        for item in self.wanted().values():
            whole = tally_of(item)
            total = total.plus(whole._replace(bytes=0) if item.inode in seen else whole)
            seen.add(item.inode)
        return total

    def dest(self, path: Path) -> bytes:
        """Return path below the destination root."""
        return joined(self.roots[path[0]][0], path[1])


def joined(directory: bytes, name: bytes) -> bytes:
    return b"/".join(part for part in (directory, name) if part)


def tally_of(item: Item) -> Tally:
    return {"file": one_file(item.size), "link": ONE_LINK, "special": ONE_SPECIAL}[item.kind]


_INODES = st.one_of(st.none(), st.integers(0, 3))
MOSTLY = st.integers(0, 4).map(bool)


@st.composite
def forests(draw: st.DrawFn) -> Forest:
    """Up to two sources with up to thirty entries and any mixture of what matters."""
    count = draw(st.integers(1, 2))
    roots = []
    for number in range(count):
        new = draw(st.booleans())
        place = b"d%d" % number if count > 1 else draw(st.sampled_from([b"", b"d"]))
        over, differs = new and draw(st.booleans()), not new and draw(st.booleans())
        roots.append((place, Dir(b"", new, over, differs=differs, ours=draw(MOSTLY))))
    places = [root for _, root in roots]
    outside = {group: draw(st.integers(0, 1)) for group in range(5)}  # names in no source
    items: list[Item] = []
    for number in range(draw(st.integers(0, 30))):
        parent = places[draw(st.integers(0, len(places) - 1))]
        name = b"%d" % number + b"x" * draw(st.sampled_from([0, 0, 0, 12]))
        kind = draw(st.sampled_from(["dir", "dir", "file", "file", "hard", "hard", "link", "special"]))
        group = draw(st.integers(0, 4)) if kind == "hard" else None
        if kind == "dir":
            new = parent.new or draw(st.booleans())
            over = new and not parent.new and draw(st.booleans())
            differs = not new and draw(st.booleans())
            refused = draw(st.integers(0, 9)) == 9
            places.append(Dir(name, new, over, refused=refused, differs=differs, ours=draw(MOSTLY)))
            parent.dirs.append(places[-1])
            continue
        if group is not None:
            kind = ("file", "file", "file", "link", "special")[group]
        there = draw(_INODES) if not parent.new else None
        items.append(
            Item(
                name,
                kind,
                0 if kind in ("link", "special") else 7 * group if group is not None else draw(st.integers(0, 60)),
                existing=not parent.new and draw(st.booleans()),
                inode=(1, group) if group is not None else (1, 100 + number),
                dest_inode=None if there is None else (2, there),
                linked=group is not None,
                excluded=draw(st.integers(0, 19)) == 19,
            )
        )
        parent.items.append(items[-1])
    _count_names(items, outside)
    return Forest(roots)


NAMES: dict[int, int] = {}


def _count_names(items: list[Item], outside: dict[int, int]) -> None:
    """An inode with one name only is no hard link. Excluded names count: the file system does not know of them."""
    NAMES.clear()
    NAMES.update(Counter(item.inode[1] for item in items if item.linked))
    for group, more in outside.items():
        if group in NAMES:
            NAMES[group] += more
    for item in items:
        item.linked = item.linked and NAMES[item.inode[1]] > 1


def listing_of(entries: list[Item | Dir]) -> ClassifiedEntries:
    """Return some entries of a directory as the scan would describe them."""
    listing = ClassifiedEntries()
    for entry in entries:
        if isinstance(entry, Dir):
            listing.folders.append((entry.name, entry.new, entry.over))
        elif entry.excluded:
            listing.open = True
        elif entry.linked:
            count = NAMES[entry.inode[1]]
            tally = tally_of(entry)
            listing.linked.append(Linked(entry.name, tally, entry.inode, count, entry.existing, entry.dest_inode))
        elif entry.existing and not entry.equal:
            listing.existing.append(Existing(entry.name, tally_of(entry), entry.inode, entry.dest_inode))
        elif entry.kind == "file" and (entry.equal or entry.dest_inode is None):
            names, sizes = listing.equal if entry.equal else listing.plain
            names.append(entry.name)
            sizes.append(entry.size)
        else:
            listing.others.append((entry.name, tally_of(entry)))
    return listing

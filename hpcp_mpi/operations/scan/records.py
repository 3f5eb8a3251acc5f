"""What a listing of directories found: entries sorted by what is to be done, and the directories they are in. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, ONE_LINK, ONE_SPECIAL, Tally, one_file
from hpcp_mpi.vocab.units import Batch, Unit

Inode = tuple[int, int]  # (st_dev, st_ino)
Identity = tuple[int, int]  # host.entries.identity: on any node


class Existing(NamedTuple):
    """An entry that may be identical at the destination."""

    name: bytes
    tally: Tally
    inode: Inode
    dest_inode: Inode | None  # given where the destination's file has several names


class Linked(NamedTuple):
    """An entry whose inode has several names."""

    name: bytes
    tally: Tally
    inode: Inode
    names: int  # st_nlink
    existing: bool  # may be identical at the destination
    dest_inode: Inode | None
    holes: int = 0  # bytes


class Leaf(NamedTuple):
    """A new directory that holds nothing but new plain files with one name, and what shows of it."""

    name: bytes
    ours: bool  # as of a Folder
    inode: int
    names: list[bytes]
    sizes: list[int]


@dataclass(slots=True)
class ClassifiedEntries:
    """Some entries of one directory, in the order the system gave them."""

    plain: tuple[list[bytes], list[int]] = field(default_factory=lambda: ([], []))  # (names, sizes) of files to copy
    equal: tuple[list[bytes], list[int]] = field(default_factory=lambda: ([], []))  # of files equal in all of lstat
    sparse: list[tuple[bytes, Tally, int]] = field(default_factory=list)  # files to copy, with the bytes of their holes
    others: list[tuple[bytes, Tally]] = field(default_factory=list)  # links and specials to copy
    existing: list[Existing] = field(default_factory=list)
    linked: list[Linked] = field(default_factory=list)
    twins: list[Linked] = field(default_factory=list)  # equal to the copy, which has as many names
    folders: list[tuple[bytes, bool, bool]] = field(default_factory=list)  # (name, missing at dest, over a non-dir)
    leaves: list[Leaf] = field(default_factory=list)  # directories that were listed at once with this one
    extras: list[tuple[bytes, bool]] = field(default_factory=list)  # only at the destination: (name, is a directory)
    tracked: list[tuple[int, bytes, int, bytes]] = field(default_factory=list)  # Tracked, without the source
    sweeps: list[bytes] = field(default_factory=list)  # stages of killed runs at the destination
    beyond: list[tuple[bytes, int]] = field(default_factory=list)  # (absolute path, mtime) that cannot be stored
    refused: int = 0  # directories that failed, as something else is in their place
    same: Tally = NOTHING  # of files and symlinks that need nothing
    open: bool = False  # cp must not copy this directory whole

    @property
    def entries(self) -> int:
        plain = self.same.files + self.same.links + len(self.plain[0]) + len(self.equal[0]) + len(self.sparse)
        leaves = sum(1 + len(leaf.names) for leaf in self.leaves)
        several = len(self.linked) + len(self.twins)
        return plain + len(self.others) + len(self.existing) + several + len(self.folders) + leaves


class DirectoryMetadata(NamedTuple):
    """A directory whose metadata is to be written when all in it is done. They sort deepest first."""

    height: int  # the negative of how deep it lies
    dest_dir: bytes
    source: int
    source_dir: bytes
    why: int  # CONTENT_CHANGED, DIFFERS, CREATED or TRUSTED
    identity: Identity  # of the directory that was listed or made; NOBODY where that is not known
    changes: bytes  # letters of what differed when it was listed: it was closed to others since then
    inode: int  # of the source's directory, when it was listed; 0 where that is not known


# Its content was changed; its metadata was not equal; it was missing; it may be given to any owner, as this run made it
# or nobody but its owner could have put it there. The last is known without a source.
CONTENT_CHANGED, DIFFERS, CREATED, TRUSTED = range(4)
NOBODY: Identity = (0, 0)


def directory_metadata(
    source: int,
    source_dir: bytes,
    dest_dir: bytes,
    why: int,
    identity: Identity = NOBODY,
    changes: bytes = b"",
    inode: int = 0,
) -> DirectoryMetadata:
    """Return the record of a directory."""
    height = -dest_dir.count(b"/") - bool(dest_dir)
    return DirectoryMetadata(height, dest_dir, source, source_dir, why, identity, changes, inode)


def trusted(dest_dir: bytes, identity: Identity) -> DirectoryMetadata:
    """Return the record of a directory that may be given to any owner."""
    return directory_metadata(-1, b"", dest_dir, TRUSTED, identity)


def with_identities(
    path: bytes, listed: Iterable[Identity], trusted: Iterable[Identity], changes: bytes = b"", inode: int = 0
) -> bytes:
    """Return a path, which directories may be there, in what they differed, and the inode of the source's directory, as
    the target of a unit.
    """
    texts = [b",".join(b"%d.%d" % each for each in sorted(some)) for some in (listed, trusted)]
    texts += [changes, b"%d" % inode if inode else b""]
    return path + b"//" + b"/".join(texts) if any(texts) else path


def without_identities(target: bytes) -> tuple[bytes, list[Identity], list[Identity], str, int]:
    """Undo with_identities."""
    path, _, texts = target.partition(b"//")
    listed, trusted, changes, inode = (*texts.split(b"/"), b"", b"", b"", b"")[:4]
    return path, _parsed(listed), _parsed(trusted), changes.decode(), int(inode or b"0")


def _parsed(text: bytes) -> list[Identity]:
    pairs = (each.partition(b".") for each in text.split(b",") if each)
    return [(int(inode), int(born)) for inode, _, born in pairs]


def same_inode(one: Identity, other: Identity) -> bool:
    """Return whether two looks were at one inode. A node may not know when it was born."""
    return one[0] == other[0] and (one[1] == other[1] or not (one[1] and other[1]))


class LinkedName(NamedTuple):
    """A name of a file with several. They sort by inode."""

    inode: Inode  # of the source
    source: int
    path: bytes  # below the source root
    target: bytes  # below the destination root
    leader: bytes  # the name that is copied, or was by who found this one; may be target itself; b"": it is not known
    counts: int  # as what it counts when it is linked: 0 nothing more, 1 a file, 2 a symlink, 3 a special file


COUNTS = (NOTHING, one_file(0), ONE_LINK, ONE_SPECIAL)  # what LinkedName.counts means
Follower = tuple[bytes, int, Inode, bytes]  # (name, LinkedName.counts, inode, leader) of one in a folder


class EqualNames(NamedTuple):
    """Some names of a file with several, that seem to be the names of one copy. They sort by the source's inode."""

    inode: Inode  # of the source
    dest_inode: Inode
    source: int
    leader: bytes  # the first of the names that one rank has seen, below the destination root
    number: int  # of names that each of the two has
    size: int
    source_dir: bytes
    dest_dir: bytes
    names: tuple[bytes, ...]


class SharedName(NamedTuple):
    """A name whose file at the destination has several, and that may stay as it is. They sort by that file's inode."""

    dest_inode: Inode
    inode: Inode  # of the source
    source: int
    path: bytes  # below the source root
    target: bytes
    size: int  # bytes; -1: not a regular file


class Extra(NamedTuple):
    """An entry of the destination that its source does not have. They sort by directory."""

    dest_dir: bytes
    name: bytes
    is_directory: bool
    source: int  # of the directory that dest_dir is the counterpart of
    source_dir: bytes


class SymlinkTarget(NamedTuple):
    """The place that a relative symlink leads to, out of what is copied with it. They sort by place."""

    up: int  # directories above the destination root
    target: bytes  # the place, below those
    source_up: int  # directories above the source root
    path: bytes  # what is to be copied there, below those
    source: int


@dataclass(slots=True)
class DeferredRecords:
    """Findings of a scan that wait for the end of the run."""

    settled: list[DirectoryMetadata] = field(default_factory=list)
    linked: list[LinkedName] = field(default_factory=list)
    shared: list[SharedName] = field(default_factory=list)
    extras: list[Extra] = field(default_factory=list)
    tracked: list[SymlinkTarget] = field(default_factory=list)
    equal: list[EqualNames] = field(default_factory=list)  # never with a ledger

    def __bool__(self) -> bool:
        return bool(self.settled or self.linked or self.shared or self.extras or self.tracked or self.equal)

    def take(self) -> "DeferredRecords":
        """Return what is here, and leave nothing."""
        taken = replace(self)
        self.settled, self.linked, self.shared, self.extras, self.tracked, self.equal = [], [], [], [], [], []
        return taken


# The types of the fields of those records in a ledger, see vocab.columns.
LAYOUTS = {"settled": "ininipni", "linked": "pinnni", "shared": "ppinni", "extras": "nnbin", "tracked": "inini"}


class Folder:
    """A directory of the source on its way to being one unit or many."""

    __slots__ = (
        "bytes",
        "changes",
        "checks",
        "children",
        "counted",
        "dest_dir",
        "directories",
        "emitted",
        "equal",
        "files",
        "followers",
        "holes",
        "identity",
        "inode",
        "links",
        "listed",
        "longest_path",
        "name",
        "names",
        "needs_metadata",
        "new",
        "ours",
        "ours_below",
        "outside_leaders",
        "parent",
        "recorded",
        "replaces_file",
        "sizes",
        "source",
        "source_dir",
        "specials",
        "split",
        "trusted",
        "units",
        "weight",
        "with_outside_links",
    )

    def __init__(self, parent: "Folder | None", source: int, source_dir: bytes, dest_dir: bytes, name: bytes) -> None:
        self.parent = parent
        self.source = source
        self.source_dir = source_dir
        self.dest_dir = dest_dir
        self.name = name
        self.counted = True  # as found: else it is only where entries are
        self.new = True  # missing at the destination
        self.replaces_file = False  # something on the way there is a non-directory that is to be replaced
        self.ours = False  # only root and we can exchange what it holds; False also before it is listed
        self.ours_below = True  # the same of all directories in its units
        self.inode = 0  # of the source's directory, when it was listed
        self.split = False
        self.needs_metadata = False  # its metadata is to be written at the end
        self.identity: Identity = NOBODY  # of what is at the destination, if it is to be settled
        self.changes = b""  # letters of how it differed when it was listed
        self.trusted = False  # that may be given to any owner
        self.emitted = False  # a batch that goes into it was emitted
        self.listed = False
        self.recorded = False  # unfinished() has returned it
        self.children = 0  # directories below that are not finished
        self.longest_path = 0  # bytes in the longest path below
        self.weight = 0  # of what is held here
        self.files = self.links = self.specials = self.bytes = 0
        self.holes = 0  # of bytes: those that need not be read
        self.directories = 1
        self.names: list[bytes] = []  # of plain files to copy
        self.sizes: list[int] = []  # theirs
        self.equal: tuple[list[bytes], list[int]] = ([], [])  # files that are equal in all that lstat shows
        self.units: list[Unit] = []
        self.checks: list[Unit] = []
        self.followers: list[Follower] = []
        self.with_outside_links: list[Folder] = []  # finished and closed, with followers of outside leaders
        self.outside_leaders: list[bytes] = []  # the leaders of those

    @property
    def tally(self) -> Tally:
        return Tally(self.files, self.directories, self.links, self.specials, self.bytes)

    @property
    def empty(self) -> bool:
        """Return whether nothing was found in it yet."""
        return not (self.children or self.followers or self.tally.minus(ONE_DIRECTORY))

    def count(self, tally: Tally) -> None:
        self.files += tally.files
        self.directories += tally.directories
        self.links += tally.links
        self.specials += tally.specials
        self.bytes += tally.bytes

    def absorb(self, child: "Folder", tally: Tally) -> None:
        """Count a directory in it that is finished and closed, and all below that. tally: the child's"""
        self.count(tally)
        self.ours_below = self.ours_below and child.ours and child.ours_below
        self.weight += child.weight
        self.holes += child.holes
        longest = len(child.name) + 1 + child.longest_path
        if longest > self.longest_path:
            self.longest_path = longest


def settling(folder: Folder) -> list[DirectoryMetadata]:
    """Return the records of a folder whose metadata is to be written."""
    paths = folder.source, folder.source_dir, folder.dest_dir
    why = CREATED if folder.new else DIFFERS
    found = [directory_metadata(*paths, why, folder.identity, folder.changes, folder.inode)]
    return [*found, trusted(folder.dest_dir, folder.identity)] if folder.trusted else found


def unfinished(folder: Folder) -> list[DirectoryMetadata]:
    """Return how the directories that folder lies in are to be settled, as far as they are begun; each once.

    What is in them may be all that is left to do when the run ends, and no rank looks at them again.
    """
    found: list[DirectoryMetadata] = []
    at: Folder | None = folder
    while at is not None and not at.recorded:
        at.recorded = at.split and at.listed  # before, it is not known how it differs
        if at.split and at.needs_metadata:
            found += settling(at)
        if at.new and at.parent is not None and not at.parent.new:
            above = at.parent
            found.append(directory_metadata(above.source, above.source_dir, above.dest_dir, CONTENT_CHANGED))
        at = at.parent
    return found


class NamesSeen:
    """The names seen of a file with several: the first one, and others that are recorded nowhere."""

    __slots__ = ("followers", "path", "source", "target", "to_come")

    def __init__(self, source: int, path: bytes, target: bytes, to_come: int) -> None:
        self.source = source
        self.path = path  # below the source root
        self.target = target  # below the destination root
        self.to_come = to_come
        self.followers: list[tuple[Folder, bytes]] = []  # (folder, name in it)


class ScanNumbers(NamedTuple):
    """The numbers of a scan at one moment."""

    listed: Tally = NOTHING
    listed_again: Tally = NOTHING  # of it: what was found before by the run that is resumed
    tops: int = 0  # directories that are listed again with all below them, and are not counted as listed
    skipped: Tally = NOTHING
    recorded: Tally = NOTHING  # of it: names to be linked and directories to be settled at the end
    again: Tally = NOTHING  # what the run that resumes here finds again


@dataclass(slots=True)
class ScanFindings:
    """The findings of a rank in directories that it was asked to list."""

    done: int = 0  # directories that it was asked for
    scanned: Tally = NOTHING
    holes: int = 0  # of its bytes
    lists: list[Batch] = field(default_factory=list)  # directories that it had no time for
    huge: list[Batch] = field(default_factory=list)  # those that it cannot hold
    deferred: DeferredRecords = field(default_factory=DeferredRecords)

"""What a listing of directories found: entries sorted by what is to be done, and the directories they are in."""

from dataclasses import dataclass, field
from typing import NamedTuple

from hpcp_mpi.vocab.tally import ONE_DIRECTORY, Tally
from hpcp_mpi.vocab.units import Unit

Inode = tuple[int, int]  # (st_dev, st_ino)


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


@dataclass(slots=True)
class Listing:
    """Some entries of one directory, in the order the system gave them."""

    plain: list[tuple[bytes, int]] = field(default_factory=list)  # (name, size) of files to copy
    others: list[tuple[bytes, Tally]] = field(default_factory=list)  # links and specials to copy
    existing: list[Existing] = field(default_factory=list)
    linked: list[Linked] = field(default_factory=list)
    folders: list[tuple[bytes, bool, bool]] = field(default_factory=list)  # (name, missing at dest, over a non-dir)
    sweeps: list[bytes] = field(default_factory=list)  # stages of killed runs at the destination
    open: bool = False  # cp must not copy this directory whole


class Folder:
    """A directory of the source on its way to being one unit or many."""

    __slots__ = (
        "bytes",
        "checks",
        "children",
        "dest_dir",
        "directories",
        "emitted",
        "files",
        "followers",
        "inner",
        "links",
        "listed",
        "name",
        "new",
        "opened",
        "over",
        "parent",
        "plain",
        "settle",
        "source",
        "source_dir",
        "specials",
        "tentative",
        "units",
        "unresolved",
        "weight",
    )

    def __init__(self, parent: "Folder | None", source: int, source_dir: bytes, dest_dir: bytes, name: bytes) -> None:
        self.parent = parent
        self.source = source
        self.source_dir = source_dir
        self.dest_dir = dest_dir
        self.name = name
        self.new = True  # missing at the destination
        self.over = False  # something on the way there is a non-directory that is to be replaced
        self.opened = False
        self.settle = False  # its metadata is to be written at the end
        self.emitted = False  # a batch that goes into it was emitted
        self.listed = False
        self.children = 0  # directories below that are not finished
        self.inner = 0  # bytes in the longest path below
        self.weight = 0  # of what is held here
        self.files = self.links = self.specials = self.bytes = 0
        self.directories = 1
        self.plain: list[tuple[bytes, int]] = []
        self.units: list[Unit] = []
        self.checks: list[Unit] = []
        self.followers: list[tuple[Unit, bytes]] = []  # (unit, its leader's path)
        self.tentative: list[Folder] = []  # finished and closed, with followers of outside leaders
        self.unresolved: list[bytes] = []  # the leaders of those

    @property
    def tally(self) -> Tally:
        return Tally(self.files, self.directories, self.links, self.specials, self.bytes)

    @property
    def empty(self) -> bool:
        """Tell whether nothing was found in it yet."""
        return not (self.children or self.followers or self.tally.minus(ONE_DIRECTORY))

    def count(self, tally: Tally) -> None:
        self.files += tally.files
        self.directories += tally.directories
        self.links += tally.links
        self.specials += tally.specials
        self.bytes += tally.bytes

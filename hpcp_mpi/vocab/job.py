"""The job that every rank is given."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from hpcp_mpi.vocab.abilities import Abilities, StoredTimes
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.paths import relative_to
from hpcp_mpi.vocab.request import Style

_STEP_NS = 1000  # the coarsest step of birth times between clients of one file system


class OpenDirectory(Protocol):
    """A directory that this process keeps open."""

    fd: int


@dataclass(frozen=True, slots=True)
class Root:
    """A directory that every rank opens by path, and what shows a rank that it is the same one."""

    path: bytes  # absolute
    inode: int
    mtime_ns: int
    device: int = 0  # of the view; another node may have another number for it
    view: str = ""  # the mounts, of one machine, that it was seen through; "": unknown
    born_ns: int = 0  # when it was made; 0: unknown
    itself: bool = False  # path is the directory's own name, so a symlink of that name is something else
    held: bool = False  # the process that looked at it keeps it open, so that its inode number is not given away
    pin: OpenDirectory | None = field(default=None, compare=False, repr=False)  # it, in that process

    def is_same(self, other: "Root", invented: bool = False) -> bool:
        """Return whether another look at its path, by any rank, showed the same directory.

        invented: the two inode numbers differ, and their file system makes them up on each node
        """
        here = bool(self.view) and self.view == other.view
        if here and self.device != other.device:
            return False
        if self.inode != other.inode:
            return invented and self.mtime_ns == other.mtime_ns
        if here and self.held:
            return True  # birth times change on an overlay, when a directory is first written to
        known = self.born_ns and other.born_ns
        return not known or abs(self.born_ns - other.born_ns) < _STEP_NS


@dataclass(frozen=True, slots=True)
class ListSpec:
    """How the entries of sources are called in a file list."""

    style: Style
    prefixes: tuple[bytes, ...]  # of each source: the path that its names begin with; b"" where they begin below it
    omitted: frozenset[tuple[int, bytes]] = frozenset()  # (source, path): the list itself


class OwnFile(NamedTuple):
    """A file that the run itself writes or reads, which is never removed."""

    name: bytes
    beside: bytes  # the name in the same directory
    inode: int  # that has this inode; as itself, or as a journal beside its ledger


@dataclass(frozen=True, slots=True)
class Job:
    """What to do with which sources, where and how. The same on all ranks."""

    options: Options
    sources: tuple[Root, ...]
    run_id: str  # unique to the run; part of the names of its stages
    destination: bytes = b""  # absolute; b"": there is none
    destination_root: Root | None = None  # None: there is none, or a dry run to a place that does not exist
    merged: frozenset[bytes] = frozenset()  # directories, relative to the destination root, that several sources have
    abilities: Abilities = field(default_factory=Abilities)  # of the destination
    # Where the contents of each source land, relative to the destination root; None: only an entry of it is copied.
    landed: tuple[bytes | None, ...] = ()
    targets: frozenset[bytes] = frozenset()  # where sources land below the destination root, files among them
    backup: Root | None = None  # where what is replaced or removed at the destination is put
    backup_path: bytes = b""  # the same relative to the destination root; b"": it is not below it
    # Of each source root, and last of the destination: what its clock (st_ctime_ns) said before anything was looked at.
    start_ctime_ns: tuple[int, ...] = ()
    stored: bool = False  # every rank has what it wrote to the destination stored before anything is done
    keep_paths: frozenset[bytes] = frozenset()  # of a move: what stays with all below it, absolute paths in the sources
    naming: ListSpec | None = None  # for file lists
    # The run resumes another: what it has to link, to settle and to verify may be gone by now, and a killed run's
    # stages may be in directories that no rank lists.
    resumed: bool = False
    adopted: frozenset[bytes] = frozenset()  # stages of an earlier run that this one uses
    stale_seconds: float = 0.0  # for how long a node may be shown what another one has changed at the destination
    own: frozenset[OwnFile] = frozenset()
    hides_acls: frozenset[int] = frozenset()  # source roots, and DEST, whose file systems may not list their ACLs

    @property
    def times(self) -> StoredTimes:
        """Return which times the destination can store, and so which are equal."""
        return self.abilities.times

    def source_dir_of(self, source: int, path: bytes) -> bytes | None:
        """Return what of a source lands on path, relative to its root; None where nothing of it can."""
        landed = self.landed[source] if source < len(self.landed) else None
        return None if landed is None else relative_to(path, landed)

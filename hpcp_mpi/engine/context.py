"""The context of a job on one rank: trees (one set per slot), stages, commands."""

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from hpcp_mpi.host.commands import Commands
from hpcp_mpi.host.dirfd import Tree
from hpcp_mpi.host.entries import identity
from hpcp_mpi.host.latency import AdaptiveGate, Latency, ParallelCalls
from hpcp_mpi.host.machine import kept_open, most_threads
from hpcp_mpi.host.metadata import Refusals, Xattrs, has_none, refused_beside, xattrs_of
from hpcp_mpi.host.mounts import Mounts, invents_inodes, mounts_below
from hpcp_mpi.host.retrying import retried
from hpcp_mpi.host.roots import Pin, is_same, most_pins, pin_of, root_at
from hpcp_mpi.host.stage import SharedStages
from hpcp_mpi.host.stale_looks import StaleLooks
from hpcp_mpi.rules import excludes
from hpcp_mpi.rules.equality import Rights
from hpcp_mpi.vocab.attributes import CAPABILITY
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.job import Job, Root
from hpcp_mpi.vocab.paths import STAGE_PREFIX, child_path, join, printable
from hpcp_mpi.vocab.units import DEST, Batch

if TYPE_CHECKING:
    from hpcp_mpi.host.pace import Pace
    from hpcp_mpi.host.unchanged import Unchanged

_MOST_TREES = 8  # of sources that a thread keeps open, if it may have files enough
_MOST_CHECKS = 64  # threads of this rank that compare files at once


class JobContext:
    """A job on this rank. Its trees belong to the thread that asks for them."""

    def __init__(self, job: Job, commands: Commands, rank: int) -> None:
        self.job = job
        self.options = job.options
        # Told of at the start. Whether a user may give capabilities is not the file system's matter: each is noted.
        lost = () if job.options.strict_metadata else job.abilities.lost_attributes
        self._lost = tuple(name for name in lost if not (os.geteuid() and name == CAPABILITY))
        self.commands = commands
        self.rank = rank
        self._own = STAGE_PREFIX + job.run_id.encode() + b"."
        self.run_id = f"{job.run_id}.{rank}"  # of this rank's stages: two ranks never choose one name
        self.rights = Rights(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))
        # Until they are settled our directories are for no other user; without settling they are as mkdir makes them.
        self.new_mode = 0o700 if job.options.directory_sync else 0o777
        self.stages = SharedStages(self.run_id, job.options.content_only)
        self.latency = Latency()  # of what is read from, or removed
        self.dest_latency = Latency()  # of what is compared with it
        self.gate = AdaptiveGate(most_threads(_MOST_CHECKS), lambda: self.slow)
        self.crowd = ParallelCalls()
        self.looks = StaleLooks(job.stale_seconds, lambda: commands.stopped)
        self.excluded = excludes.matcher(job.options.all_excludes)
        self._began_ns = time.time_ns()
        self._unchanged: dict[int, Unchanged] = {}
        self._mounts: dict[int, Mounts] = {}
        self._foreign: dict[int, frozenset[tuple[int, int]]] = {}
        # Of a move: copies with several names, and the source file that each is the copy of: (device, inode) both.
        self.vouched: dict[tuple[int, int], tuple[int, int]] = {}
        # What goes at the destination, as a directory takes its place: (path below the root, mode).
        self.replaced: deque[tuple[bytes, int]] = deque()
        self.workers = 1  # ranks that do this job's work
        self.slots = 1  # of this one
        self._pace: Pace | None = None  # of what this rank removes
        self.lost: set[int] = set()  # ranks, as far as this one knows
        self.ending = threading.Event()  # the run ends in good order: a big file's ranges stop between blocks
        self._guard = threading.Lock()
        self._local = threading.local()
        self._pins: dict[bytes, Pin] = {}  # roots that this process keeps open itself
        self._inodes: dict[bytes, tuple[int, int]] = {}  # (device, inode) of the roots, on this node

    @property
    def slow(self) -> bool:
        """Return whether calls take long, on either side."""
        return self.latency.slow or self.dest_latency.slow

    def source(self, batch: Batch) -> Tree:
        """Return the tree that a batch is read from."""
        return self.source_tree(batch.source)

    def source_tree(self, index: int) -> Tree:
        """Return the tree of a source root. DEST: the destination's."""
        return self.dest if index == DEST else self._tree(self.job.sources[index])

    @contextmanager
    def listed(self, batch: Batch) -> Iterator[int]:
        """Yield a descriptor of the source's directory of a batch: the one that was listed. Raises OSError."""
        with self.source(batch).at(batch.source_dir) as fd:
            if batch.inode:
                self.refuse_exchanged(batch.source, os.fstat(fd), batch.inode)
            yield fd

    def refuse_exchanged(self, source: int, found: os.stat_result, inode: int) -> None:
        """Raise OSError if a directory of a source is not the one that was listed.

        Else who may rename it could have its name stand for a private one only while that is copied.
        inode: of the one that was listed; 0 where that is not known
        """
        if inode and found.st_ino != inode and not invents_inodes(self.job.sources[source].path):
            raise OSError(errno.EBUSY, "another directory has its name since it was listed: run this again")

    @property
    def dest(self) -> Tree:
        """The destination. Raises FileNotFoundError where a dry run has none."""
        root = self.job.destination_root
        if root is None:
            raise FileNotFoundError
        return self._tree(root)

    @property
    def backup(self) -> Tree:
        """The backup directory: replaced entries go there. Raises FileNotFoundError where there is none."""
        if self.job.backup is None:
            raise FileNotFoundError
        return self._tree(self.job.backup)

    @contextmanager
    def copied(self, path: bytes) -> Iterator[int]:
        """Yield a descriptor of a directory of the destination that is there, whatever this node remembers of it.

        Raises OSError, FileNotFoundError where it is really missing.
        """
        with ExitStack() as stack:
            found = None
            missing: OSError | None = None
            for _ in self.looks.each():
                try:
                    found = stack.enter_context(self.dest.at(path))
                    break
                except (FileNotFoundError, NotADirectoryError) as error:
                    missing = error
            if found is None:
                assert missing is not None
                raise missing
            yield found

    def _note_made(self, path: bytes, fd: int) -> None:
        if self.options.directory_sync:
            self._local.__dict__.setdefault("made", []).append((path, identity(fd)))

    def made_here(self) -> list[tuple[bytes, tuple[int, int]]]:
        """Return the directories of the destination that the calling thread has made, with their identities."""
        found: list[tuple[bytes, tuple[int, int]]] = self._local.__dict__.setdefault("made", [])
        return found

    def hides_acls(self, index: int) -> bool:
        """Return whether the file system of a source root, or DEST, has ACLs and does not list them."""
        return index in self.job.hides_acls

    def xattrs_of(self, pair: tuple[int, bytes], other: tuple[int, bytes], source: int) -> tuple[Xattrs, Xattrs]:
        """Return what attributes two entries carry, (directory, name) each: one of a source, one of the destination.

        What the destination cannot have is left out of what the source has. Raises OSError.
        """
        return self.wanted_xattrs(pair, source), xattrs_of(*other, self.hides_acls(DEST))

    def directory_xattrs(self, directory: int, other: int, source: int) -> tuple[Xattrs, Xattrs]:
        """Return the same of two open directories, of which nearly all have none. Raises OSError."""
        if not self.job.hides_acls and has_none(directory) and has_none(other):
            return {}, {}
        return self.xattrs_of((directory, b"."), (other, b"."), source)

    def wanted_xattrs(self, entry: tuple[int, bytes], source: int) -> Xattrs:
        """Return what attributes the copy of an entry (directory, name) is to have. Raises OSError."""
        wanted = xattrs_of(*entry, self.hides_acls(source))
        if wanted and self._lost:
            wanted = {name: value for name, value in wanted.items() if not name.startswith(self._lost)}
        return wanted

    def storable(self, dest: int, xattrs: tuple[Xattrs, Xattrs]) -> tuple[tuple[Xattrs, Xattrs], Refusals]:
        """Return what attributes an entry of a directory can have, and has; and which ones would be refused.

        For what is not written in place. xattrs: as from xattrs_of()
        """
        wanted, found = xattrs
        if wanted == found:
            return xattrs, {}
        lost = self.job.abilities.lost_attributes
        refused = {name: errno.EOPNOTSUPP for name in wanted if name.startswith(lost)}
        refused |= refused_beside(dest, wanted, found)
        return ({name: value for name, value in wanted.items() if name not in refused}, found), refused

    def differing(self, dest: int, xattrs: tuple[Xattrs, Xattrs]) -> tuple[Xattrs, Xattrs]:
        """Return the attributes in which an entry counts as different in a dry run. xattrs: as from xattrs_of()"""
        return xattrs if self.options.strict_metadata else self.storable(dest, xattrs)[0]

    def source_path(self, batch: Batch, name: bytes = b"") -> bytes:
        """Return the absolute path of what a batch calls name; of its directory without one."""
        return child_path(self.job.sources[batch.source].path, join(batch.source_dir, name))

    def dest_path(self, path: bytes) -> bytes:
        """Return the absolute path of what lies at path below the destination root."""
        return child_path(self.job.destination, path)

    def _tree(self, root: Root) -> Tree:
        trees: dict[bytes, Tree] = self._local.__dict__.setdefault("trees", {})
        tree = trees.get(root.path)
        if tree is None:
            pin = self._pin_of(root)
            note = self._note_made if root == self.job.destination_root else None
            tree = trees[root.path] = Tree(root.path, pin.fd, lambda: self.commands.stopped, note)
            if len(trees) > 2 + kept_open(_MOST_TREES, 128):
                self._close_oldest(trees)
        return tree

    def _close_oldest(self, trees: dict[bytes, Tree]) -> None:
        """Close the tree of the source that a thread opened first."""
        last = next(reversed(trees))
        kept = {root.path for root in (self.job.destination_root, self.job.backup) if root is not None}
        for path in trees:
            if path != last and path not in kept:
                trees.pop(path).close()
                return

    def _pin_of(self, root: Root) -> Pin:
        """Return a descriptor of a root. Raises OSError, also if something else has its name by now and it is gone."""
        return self._pins.get(root.path) or pin_of(root)

    def mounts_of(self, index: int) -> Mounts:
        """Return what was mounted below a root (DEST: the destination) when it was first asked for. Raises OSError."""
        found = self._mounts.get(index)
        if found is None:
            root = self.job.destination_root if index == DEST else self.job.sources[index]
            if root is None:
                raise FileNotFoundError
            pin = self._pin_of(root)
            found = self._mounts[index] = Mounts(self.inode_of(root)[0], mounts_below(pin.fd))
        return found

    def foreign_to(self, index: int) -> frozenset[tuple[int, int]]:
        """Return (device, inode) of the other side's roots: what is emptied must not be one, whatever it is called.

        A bind mount has the same device number, and no path shows that it is below a root.
        """
        found = self._foreign.get(index)
        if found is None:
            other = self.job.sources if index == DEST else (self.job.destination_root,)
            roots = [root for root in (*other, self.job.backup) if root is not None]
            found = self._foreign[index] = frozenset(self._inodes[root.path] for root in roots)
        return found

    def unchanged(self, index: int) -> "Unchanged":
        """Return what shows that directories of a source root were not changed since the job began."""
        found = self._unchanged.get(index)
        if found is None:
            from hpcp_mpi.host.unchanged import Unchanged  # for what is copied, and by whom it is listed

            root = self.job.sources[index].path
            found = self._unchanged[index] = Unchanged(root, self._began_ns)
        return found

    def inode_of(self, root: Root) -> tuple[int, int]:
        """Return (device, inode) of a root, as they were when the job began. Raises OSError."""
        found = self._inodes.get(root.path)
        if found is None:
            pin = self._pin_of(root)
            status = os.fstat(pin.fd)
            found = status.st_dev, status.st_ino
        return found

    @property
    def removal_pace(self) -> "Pace | None":
        """Return what limits how much is removed, this rank's share of it; None where nothing does."""
        if self.options.rate_files and self._pace is None:
            from hpcp_mpi.host.pace import Pace

            with self._guard:
                self._pace = self._pace or Pace(self.options.rate_files / self.workers)
        return self._pace

    def in_use(self, stage: bytes) -> bool:
        """Return whether a stage is this run's, and not that of a rank that is lost."""
        if stage in self.job.adopted:
            return True
        if not self.own(stage):
            return False
        rank = stage[len(self._own) :].partition(b".")[0]
        return not (rank.isdigit() and int(rank) in self.lost)

    def own(self, stage: bytes) -> bool:
        """Return whether a stage is this run's."""
        return stage.startswith(self._own)

    def release(self) -> None:
        """Close the calling thread's trees."""
        trees: dict[bytes, Tree] = self._local.__dict__.pop("trees", {})
        for tree in trees.values():
            tree.close()

    def pin_roots(self, rank: int, node: str) -> None:
        """Open the roots: what is put under their names from now on is not looked at.

        Refuse to work where this rank sees other directories than rank 0 did before it asked or checked anything: what
        is not mounted here, or was put under their names since then.
        """
        job = self.job
        roots = [*job.sources, *(root for root in (job.destination_root, job.backup) if root is not None)]
        for root in {root.path: root for root in roots}.values():
            if root.pin is not None:  # rank 0, and its threads
                self._inodes[root.path] = root.device, root.inode
                continue
            try:
                found = retried(partial(root_at, root.path, root.itself))
            except OSError as error:
                problem = reason_of(error)
            else:
                if is_same(root, found):
                    self._inodes[root.path] = found.device, found.inode
                    if len(self._pins) < most_pins() and isinstance(found.pin, Pin):
                        self._pins[root.path] = found.pin
                    continue
                problem = "not the directory that rank 0 sees"
            raise FatalError(
                f"rank {rank} on {node} cannot use {printable(root.path)}: {problem}",
                "Is the file system mounted on that node, at the same place? Or was it replaced while the run began?",
            )

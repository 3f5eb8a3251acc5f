"""What patches change in a target: removals, directories, copies by the engine, metadata of directories."""

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.engine.frontend import Frontend
from hpcp_mpi.formats.entry_state import State
from hpcp_mpi.host import metadata
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import Tree
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.remove_tree import remove_tree
from hpcp_mpi.operations.copy.from_list.rank0 import copy_names
from hpcp_mpi.operations.imaging.patch.files import Origins, Volume
from hpcp_mpi.operations.imaging.patch.plan import Plan
from hpcp_mpi.operations.imaging.rules.patch import deepest_first, parents
from hpcp_mpi.vocab.errors import failure_of
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import child_path
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import NOTHING, ONE_DIRECTORY, ONE_LINK, ONE_SPECIAL, Tally, one_file

_REPLACED = "it was replaced by something else meanwhile"


@dataclass(slots=True)
class Changes:
    """The changes of one target."""

    plan: Plan
    origins: Origins
    target: bytes
    root: int  # a descriptor of it
    stopped: Callable[[], bool]
    outcome: Outcome
    _made: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # directories: (device, inode)

    def remove(self) -> None:
        """Remove what has to go, what is in a directory before it. Raises Stopped."""
        tree = Tree(self.target, self.root, self.stopped)
        try:
            for path in self.plan.removals():
                self._go_on()
                self._remove(tree, path)
            for path in self._to_separate():
                self._remove(tree, path)
        finally:
            tree.close()

    def _to_separate(self) -> list[bytes]:
        """Return names of files with others that are to be files of their own, which no single copy sees together.

        They are copied again at once.
        """
        kept: dict[tuple[int, int], Volume] = {}
        found = []
        for path in sorted(self.plan.again):
            if (
                self.plan.found(path).there
                and kept.setdefault(self.plan.seen[path].inode, self.origins[path]) != self.origins[path]
            ):
                found.append(path)
        return found

    def _remove(self, tree: Tree, path: bytes) -> None:
        directory, _, name = path.rpartition(b"/")
        found = self.plan.found(path)
        try:
            with tree.handle(directory) as parent:
                now = lstat(name, parent)
                if now is not None and (now.st_dev, now.st_ino) != self.plan.seen[path].inode:
                    raise OSError(errno.ESTALE, _REPLACED)
                if self.plan.apply.get(path):  # a conflict: with whatever is in it
                    tree.forget()
                    remove_tree(parent, name)
                elif found.is_directory:
                    tree.forget()
                    os.rmdir(name, dir_fd=parent)
                elif now is not None and now.st_mtime_ns != found.mtime:
                    raise OSError(errno.ESTALE, "it was changed meanwhile")
                else:
                    os.unlink(name, dir_fd=parent)
            self.outcome.removed = self.outcome.removed.plus(tally_of(found))
        except FileNotFoundError:
            pass
        except OSError as error:
            self.outcome.failures.append(failure_of(child_path(self.target, path), error, "cannot be removed"))

    def make_directories(self) -> None:
        """Make the directories that the patches add, closed to others until they get their metadata. Raises Stopped."""
        tree = Tree(self.target, self.root, self.stopped)
        try:
            for path in sorted({*self.plan.directories(), *self._missing()}):
                self._go_on()
                try:
                    with tree.made(path) as fd:
                        status = os.fstat(fd)
                        self._made[path] = status.st_dev, status.st_ino
                except OSError as error:
                    self.outcome.failures.append(failure_of(child_path(self.target, path), error, "cannot be made"))
        finally:
            tree.close()

    def copy(self, wire: Wire, options: Options, frontend: Frontend) -> list[Report]:
        """Have the engine copy files, symlinks and special files from the patches; return its reports.

        Raises FatalError, Stopped.
        """
        by_volume: dict[Volume, list[bytes]] = {}
        for path in self.plan.copies():
            by_volume.setdefault(self.origins[path], []).append(path)
        reports = []
        for volume, paths in by_volume.items():
            quiet, root = replace(frontend, items=None), os.fstat(self.root)
            reports.append(copy_names(wire, volume.root, self.target, paths, copy_options(options), quiet, root))
            if reports[-1].ended_early:
                break
        return reports

    def settle(self) -> None:
        """Give directories their metadata, those in others first: nothing in them changes any more. Raises Stopped."""
        tree = Tree(self.target, self.root, self.stopped)
        try:
            for path in deepest_first(self._to_settle()):
                self._go_on()
                try:
                    self._settle(tree, path)
                except OSError as error:
                    doing = "cannot get its directory's metadata"
                    self.outcome.failures.append(failure_of(child_path(self.target, path), error, doing))
        finally:
            tree.close()

    def _to_settle(self) -> Iterable[bytes]:
        """Return the directories that changed, and those in which something did, as far as patches know their times."""
        plan = self.plan
        changed = {*plan.apply, *plan.again}
        above = {path.rpartition(b"/")[0] for path in changed if path} | {b""}  # the root holds the mark
        rows = {path for path, chain in plan.chains.items() if chain.end.is_directory}
        timed = {path for path in above & rows if plan.end(path).mtime is not None}
        return timed | (changed & rows) | self._missing().keys()

    def _missing(self) -> dict[bytes, Volume]:
        """Return directories that no row is of, and that are made nevertheless (-fa), and which patch has them."""
        found: dict[bytes, Volume] = {}
        for path in self.plan.apply:
            barrier = self.plan.seen[path].barrier
            if barrier is not None and barrier.path not in self.plan.chains and path in self.origins:
                found |= {up: self.origins[path] for up in parents(path) if len(up) >= len(barrier.path)}
        return found

    def _settle(self, tree: Tree, path: bytes) -> None:
        volume = self.origins.get(path) or self._missing()[path]
        payload = Tree(volume.root, volume.fd, self.stopped)
        try:
            with payload.handle(path) as source, tree.handle(path) as dest:
                wanted, found = os.fstat(source), os.fstat(dest)
                known = self._made.get(path) or self.plan.seen[path].inode
                if (found.st_dev, found.st_ino) != known:
                    raise OSError(errno.ESTALE, _REPLACED)
                mine = metadata.xattrs_of(source, b".")
                theirs = metadata.xattrs_of(dest, b".")
                root = os.geteuid() == 0
                owner = (wanted.st_uid, wanted.st_gid) if root else (found.st_uid, found.st_gid)
                mode = wanted.st_mode & 0o7777
                times = (wanted.st_atime_ns, wanted.st_mtime_ns)
                refused = metadata.write(dest, b".", found, owner, mode, (mine, theirs), times)
            if refused:
                names = b", ".join(sorted(refused)).decode("utf-8", "replace")
                self.outcome.warn(child_path(self.target, path), f"its file system refuses {names}")
            self.outcome.updated = self.outcome.updated.plus(ONE_DIRECTORY)
        finally:
            payload.close()

    def _go_on(self) -> None:
        if self.stopped():
            raise Stopped


def copy_options(options: Options) -> Options:
    """Return options of a copy of what is in patches: all of it is looked at, directories get their metadata later."""
    return replace(
        options,
        full_hash=True,
        modify_window=0.0,
        excludes=(),
        optional_excludes=(),
        directory_only=False,
        directory_sync=False,
        content_only=False,
        mirror=False,
        move=False,
        backup_dir=b"",
        make_destination=False,
        sequential=False,
        itemize=False,
        dry_run=False,
    )


def tally_of(state: State) -> Tally:
    """Return what an entry counts for."""
    if state.kind == b"f":
        return one_file(state.size or 0)
    return {b"d": ONE_DIRECTORY, b"l": ONE_LINK, b"-": NOTHING}.get(state.kind, ONE_SPECIAL)

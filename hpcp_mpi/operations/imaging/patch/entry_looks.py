"""Looks at entries of a tree: their states as patches have them. By descriptor, so no symlink is ever followed."""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from typing import NamedTuple

from hpcp_mpi.formats.entry_state import ABSENT, LETTERS, State, span_of
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.dirfd import Tree
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.hashing import attributes_digest, digest
from hpcp_mpi.host.metadata import Xattrs, xattrs_of
from hpcp_mpi.host.range_copy import opened
from hpcp_mpi.operations.imaging.rules.patch import Barrier, parents
from hpcp_mpi.vocab.attributes import ACL, CAPABILITY
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import child_path, printable

_TOGETHER = 200  # entries of a directory that are looked at with one look-up of that
_THREADS = 4  # hashing lets the others work
_NO_DIRECTORY = (errno.ENOTDIR, errno.ELOOP, errno.ENOENT)


Hashed = Iterable[tuple[int | None, int]]  # (size, span): files of this size, or any, have this hash taken


class Seen(NamedTuple):
    """What was seen of an entry."""

    state: State
    inode: tuple[int, int] = (0, 0)  # device, number
    names: int = 0
    barrier: Barrier | None = None  # why it could not be looked up
    stored: int = 0  # bytes in blocks


NOT_THERE = Seen(ABSENT)


class Looks:
    """Looks at the entries of one tree. root: its path; fd: a descriptor of it"""

    def __init__(self, root: bytes, fd: int, stopped: Callable[[], bool]) -> None:
        self.root = root
        self._fd = fd
        self._stopped = stopped
        self._own = threading.local()

    def at(self, wanted: Mapping[bytes, Hashed]) -> dict[bytes, Seen]:
        """Return what is seen at each path. wanted: of each, which hashes

        Raises FatalError where something cannot be read: a guess would lose what is there. Stopped.
        """
        found: dict[bytes, Seen] = {}
        with ThreadPoolExecutor(_THREADS, "looks") as pool:
            try:
                for some in pool.map(self._look, _portions(wanted)):
                    found.update(some)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return found

    def _look(self, portion: list[tuple[bytes, Hashed]]) -> list[tuple[bytes, Seen]]:
        """Look at entries of one directory."""
        tree = getattr(self._own, "tree", None)
        if tree is None:
            tree = self._own.tree = Tree(self.root, self._fd, self._stopped)
        at = portion[0][0]
        try:
            try:
                with tree.handle(at.rpartition(b"/")[0]) as parent:
                    found = []
                    for at, hashed in portion:
                        if self._stopped():
                            raise Stopped
                        found.append((at, seen_in(parent, at.rpartition(b"/")[2] or b".", hashed, self._stopped)))
                    return found
            except OSError as error:
                if error.errno not in _NO_DIRECTORY or (barrier := _barrier(tree, at)) is None:
                    raise
                return [(path, Seen(ABSENT, barrier=barrier)) for path, _ in portion]
        except InterruptedError:
            raise Stopped from None
        except OSError as error:
            where = printable(child_path(self.root, at))
            raise FatalError(f"cannot read {where}: {reason_of(error)}") from None


def _portions(wanted: Mapping[bytes, Hashed]) -> Iterator[list[tuple[bytes, Hashed]]]:
    """Yield what is wanted, some entries of one directory at a time."""
    ordered = sorted(wanted, key=lambda path: path.rpartition(b"/")[::2])
    for _, same in groupby(ordered, key=lambda path: path.rpartition(b"/")[0]):
        while some := list(islice(same, _TOGETHER)):
            yield [(path, wanted[path]) for path in some]


def _barrier(tree: Tree, path: bytes) -> Barrier | None:
    """Return the first directory on the way to an entry that is none."""
    tree.forget()
    for above in parents(path):
        directory, _, name = above.rpartition(b"/")
        with tree.at(directory) as parent:
            status = lstat(name, parent)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return Barrier(above, b"-" if status is None else LETTERS[stat.S_IFMT(status.st_mode)])
    return None


def seen_in(parent: int, name: bytes, hashed: Hashed, stopped: Callable[[], bool]) -> Seen:
    """Return what is seen of an entry of an open directory. Raises OSError, InterruptedError."""
    status = lstat(name, parent)
    if status is None:
        return NOT_THERE
    kind = LETTERS[stat.S_IFMT(status.st_mode)]
    found = xattrs_of(parent, name)
    state = State(
        kind,
        None if kind == b"l" else stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_size if kind == b"f" else None,
        status.st_mtime_ns,
        portable=None if kind == b"l" else b"%016x" % attributes_digest(_portable(found)),
        attributes=b"%016x" % attributes_digest(found),
        target=os.readlink(name, dir_fd=parent) if kind == b"l" else None,
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in (b"c", b"b") else None,
    )
    if kind == b"f":
        state = state._replace(hashes=_hashes(parent, name, status, hashed, stopped))
    return Seen(state, (status.st_dev, status.st_ino), status.st_nlink, None, status.st_blocks * 512)


def _portable(found: Xattrs) -> Xattrs:
    """Return those attributes that hpcp carries."""
    return {name: value for name, value in found.items() if name.startswith((b"user.", ACL)) or name == CAPABILITY}


def _hashes(
    parent: int, name: bytes, status: os.stat_result, hashed: Hashed, stopped: Callable[[], bool]
) -> tuple[tuple[int, bytes], ...]:
    size = status.st_size
    spans = {span_of(size, span) for wanted, span in hashed if span and wanted in (None, size)}
    if not spans:
        return ()
    with opened(parent, name) as (fd, now):
        if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
            raise OSError(errno.ESTALE, "it was replaced meanwhile")
        return tuple((span, b"%016x" % digest(fd, size, None if span < 0 else span, stopped)) for span in sorted(spans))

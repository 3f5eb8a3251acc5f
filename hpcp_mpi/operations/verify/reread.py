"""Is the copy of an entry equal to its source? Both are read, past the page cache.

A file is good if its source has its size and mtime, and both hold the same bytes; a link, if it has the same target.
Nothing more is needed to find a source that was written to while it was copied: `cp` notes the mtime before it reads,
and what does not show in mtimes shows in the bytes.

A file whose bytes differ gets another mtime, so that neither the next run nor a move takes it for a true copy.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.commands import Stopped
from hpcp_mpi.host.entries import lstat
from hpcp_mpi.host.mounts import makes_up_files
from hpcp_mpi.host.uncached_read import ReadError, forget, open_quietly, same_bytes
from hpcp_mpi.vocab.errors import reason_of
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.tally import NOTHING, Tally, one_file, tally_of

CHANGED = "it changed while it was copied"
OTHER_BYTES = "its copy holds other bytes"
OTHER_TARGET = "its copy points elsewhere"
OTHER_TYPE = "its copy is something else"
MISSING = "its copy is missing"
GONE = "vanished after it was copied, so its copy was not verified"
_SPOILT_NS = 1  # an mtime that no source has
_ELSE_NS = 1001 * 10**9  # instead where the other may be stored as, or be the nearest to, that of the source


Inodes = tuple[int, int, int, int]  # devices and numbers: of a file, and of its copy


class CopyDiffers(Exception):
    """A copy is not equal to its source.

    counted: what it counted for when it was copied. inodes: of files that look alike at least in type.
    read: its bytes say so, not only its name and attributes
    """

    def __init__(
        self, reason: str, counted: Tally = NOTHING, inodes: Inodes | None = None, *, read: bool = False
    ) -> None:
        super().__init__(reason)
        self.read = read
        self.reason = reason
        self.counted = counted
        self.inodes = inodes


class CannotVerify(Exception):
    """It cannot be found out whether a copy is good."""

    def __init__(self, reason: str, vanished: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.vanished = vanished


class EntryPair(NamedTuple):
    """Where an entry is, and where its copy is."""

    source: int  # a descriptor of its directory
    dest: int
    name: bytes
    target: bytes


class OpenPair(NamedTuple):
    """A file and its copy, which look alike."""

    mine: int
    theirs: int
    wanted: os.stat_result
    found: os.stat_result

    @property
    def inodes(self) -> Inodes:
        return self.wanted.st_dev, self.wanted.st_ino, self.found.st_dev, self.found.st_ino


class CopyComparer:
    """Compares entries of one source with their copies.

    Its methods raise CopyDiffers, CannotVerify, and host.commands.Stopped.
    """

    def __init__(self, context: JobContext, source: int, sync: bool) -> None:
        """sync: files are to be written out one by one, before they are read."""
        self._context = context
        self._sync = sync
        self._stopped: Callable[[], bool] = lambda: context.commands.stopped
        began = context.job.start_ctime_ns
        self._began_ns = began[source] if source < len(began) else 0  # 0: its clock was not asked

    def entry(self, pair: EntryPair) -> Tally:
        """Compare entries that are no directories; return what they count for."""
        try:
            wanted = lstat(pair.name, pair.source)
        except OSError as error:
            raise unread(error) from None
        if wanted is None:
            raise CannotVerify(GONE, vanished=True)
        if stat.S_ISREG(wanted.st_mode):
            return self.file(pair)
        counted = tally_of(wanted)
        try:
            found = lstat(pair.target, pair.dest)
            if found is None:
                raise CopyDiffers(MISSING, counted)
            if stat.S_IFMT(wanted.st_mode) != stat.S_IFMT(found.st_mode) or wanted.st_rdev != found.st_rdev:
                raise CopyDiffers(OTHER_TYPE, counted)
            is_link = stat.S_ISLNK(wanted.st_mode)
            if is_link and _target(pair.name, pair.source) != os.readlink(pair.target, dir_fd=pair.dest):
                raise CopyDiffers(OTHER_TARGET, counted)
        except OSError as error:
            raise CopyDiffers(f"its copy cannot be looked at: {reason_of(error)}", counted) from None
        return counted

    def file(self, pair: EntryPair) -> Tally:
        """Compare regular files; return what they count for."""
        return self.opened(pair, self.whole)

    def surely(self, look: Callable[[], Tally]) -> Tally:
        """Return what look returns. What it raises is not believed at once, unless the bytes say so.

        Another node may have made the copy, and this one remember what had its name before.
        """
        try:
            return look()
        except CopyDiffers as problem:
            seen = problem
        for _ in self._context.looks.further() if not seen.read else ():
            try:
                return look()
            except CopyDiffers as problem:
                seen = problem
                if seen.read:
                    break
        raise seen

    def whole(self, files: OpenPair) -> Tally:
        """Compare all of a file; return what it counts for."""
        self.read(files, 0, files.wanted.st_size)
        return one_file(files.wanted.st_size)

    def opened(self, pair: EntryPair, compare: Callable[[OpenPair], Tally]) -> Tally:
        """Return what compare returns for a file and its copy; it is called if they look alike."""
        # Without context managers: they would take as long as the system calls.
        try:
            mine = open_quietly(pair.name, pair.source)
        except OSError as error:
            raise unread(error) from None
        try:
            wanted = os.fstat(mine)
            try:
                theirs = open_quietly(pair.target, pair.dest)
            except OSError as error:
                raise _copy_unread(error, one_file(wanted.st_size)) from None
            try:
                found = os.fstat(theirs)
                if not (stat.S_ISREG(wanted.st_mode) and stat.S_ISREG(found.st_mode)):
                    raise CopyDiffers(OTHER_TYPE, one_file(wanted.st_size))
                files = OpenPair(mine, theirs, wanted, found)
                if not self._same_mtime(wanted, found):
                    raise _changed(files)
                if wanted.st_size != found.st_size:
                    if not makes_up_files(mine):
                        raise _changed(files)
                    return self._to_the_end(files)
                return compare(files)
            finally:
                os.close(theirs)
        finally:
            os.close(mine)

    def _to_the_end(self, files: OpenPair) -> Tally:
        """Compare a file whose size says nothing, as in /proc, with its copy; return what it counts for."""
        at, mine, theirs = 0, b"", b""
        while True:
            if self._stopped():
                raise Stopped
            try:
                mine, theirs = os.pread(files.mine, MIB, at), os.pread(files.theirs, MIB, at)
            except OSError as error:
                raise unread(error) from None
            if mine != theirs:
                short = min(len(mine), len(theirs))
                if not short or mine[:short] != theirs[:short]:
                    raise _changed(files)
                mine = mine[:short]  # such a file gives as much at once as it likes
            if not mine:
                return one_file(files.wanted.st_size)
            at += len(mine)

    def _same_mtime(self, wanted: os.stat_result, found: os.stat_result) -> bool:
        if self._context.options.content_only:
            return found.st_mtime_ns != _SPOILT_NS
        return self._context.job.times.same(wanted.st_mtime_ns, found.st_mtime_ns)

    def read(self, files: OpenPair, start: int, length: int) -> None:
        """Read a range of a file and of its copy."""
        mine, theirs, wanted, found = files
        if self._sync:
            try:
                os.fdatasync(theirs)
            except OSError as error:
                reason = f"its copy cannot be written: {reason_of(error)}"
                raise CopyDiffers(reason, one_file(wanted.st_size), read=True) from None
        try:
            forget(mine, start, length)
            forget(theirs, start, length)
            same = same_bytes(mine, theirs, start, length, self._stopped, self._context.commands.moved.add)
        except ReadError as error:
            raise (unread(error) if error.mine else _copy_unread(error, one_file(wanted.st_size))) from None
        finally:
            forget(mine, start, length)
            forget(theirs, start, length)
        if not same:
            with suppress(OSError):
                os.utime(theirs, ns=(found.st_atime_ns, self._spoilt_ns(wanted)))
            reason = CHANGED if self._is_new(wanted, found) else OTHER_BYTES
            raise CopyDiffers(reason, one_file(wanted.st_size), files.inodes, read=True)

    def _spoilt_ns(self, wanted: os.stat_result) -> int:
        """Return an mtime by which a copy is not taken for one of a source with the lstat wanted."""
        if self._context.options.content_only or not self._context.job.times.same(wanted.st_mtime_ns, _SPOILT_NS):
            return _SPOILT_NS
        return _ELSE_NS

    def _is_new(self, wanted: os.stat_result, found: os.stat_result) -> bool:
        """Return whether a source was changed since the run began, as far as is known."""
        return wanted.st_ctime_ns > (self._began_ns or found.st_ctime_ns)


def _changed(files: OpenPair) -> CopyDiffers:
    """Return that a source was written to. It counted for no more than what is there by now."""
    return CopyDiffers(CHANGED, one_file(min(files.wanted.st_size, files.found.st_size)), files.inodes)


def _target(name: bytes, source: int) -> bytes:
    try:
        return os.readlink(name, dir_fd=source)
    except OSError as error:
        raise unread(error) from None


def unread(error: OSError) -> CannotVerify:
    """Return what it means that a source cannot be read."""
    if error.errno == errno.ENOENT:
        return CannotVerify(GONE, vanished=True)
    return CannotVerify(f"it cannot be read again to verify its copy: {reason_of(error)}")


def _copy_unread(error: OSError, counted: Tally) -> CopyDiffers | CannotVerify:
    if error.errno in (errno.EACCES, errno.EPERM):
        # It has its source's mode and another owner: the next copy would be no better.
        return CannotVerify(f"its copy cannot be read to verify it: {reason_of(error)}")
    if error.errno == errno.ENOENT:
        return CopyDiffers(MISSING, counted)
    if error.errno in (errno.ELOOP, errno.ENXIO):
        return CopyDiffers(OTHER_TYPE, counted)  # a link, a socket
    return CopyDiffers(f"its copy cannot be read: {reason_of(error)}", counted)

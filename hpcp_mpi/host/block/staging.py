"""The image file that is being made: its stage beside its name, the locks on both, and what killed runs left.

While a run writes it the stage ends in `.part`: nobody knows what a killed run's one holds, and the next run in that
directory removes it. A run that was ended in good order leaves one that ends in `.kept`, with which the same command
goes on. Who has the lock has the file; the kernel lets go of it when the process and its loop devices are gone.
"""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from hpcp_mpi.host import safe_file
from hpcp_mpi.host.block.loops import attached_to
from hpcp_mpi.host.entries import rename_if_free
from hpcp_mpi.vocab.errors import FatalError, UsageError, reason_of
from hpcp_mpi.vocab.paths import STAGE_PREFIX, child_path, printable

PREFIX = STAGE_PREFIX + b"image."
PART, KEPT = b".part", b".kept"
_MODE = 0o600  # an image holds what only root may read
_LONGEST = 120  # bytes of an image's name that its stage's has, too
_TRIES = 10  # times that another run may take a new stage for a dead one's
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Identity = tuple[int, int]


def identity(status: os.stat_result) -> Identity:
    """Return what tells a file from all others of this machine: its device and inode."""
    return status.st_dev, status.st_ino


@dataclass(slots=True)
class Target:
    """The place of an image, whose directory is held open. given: the path as it was given"""

    given: bytes
    _place: safe_file.Place

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> bytes:
        """The absolute path without symlinks."""
        return self._place.path

    @property
    def name(self) -> bytes:
        return self._place.name

    @property
    def directory(self) -> int:
        """A descriptor of the directory, which may only be looked up in."""
        return self._place.directory

    @property
    def status(self) -> os.stat_result | None:
        """What had the name when it was looked at; None: nothing."""
        return self._place.status

    def opened(self, writable: bool = False) -> int:
        """Return a new descriptor of what was looked at, whatever has its name now. Raises FatalError.

        A block device that is to be written is held: nobody else may mount it, or a partition of it.
        """
        held = os.O_EXCL if writable and self.status is not None and stat.S_ISBLK(self.status.st_mode) else 0
        try:
            return self._place.reopened((os.O_RDWR if writable else os.O_RDONLY) | held | os.O_NONBLOCK)
        except OSError as error:
            if held and error.errno == errno.EBUSY:
                raise FatalError(
                    f"{printable(self.given)} is in use: it or a part of it is mounted, swap, or part of a volume",
                    f"See lsblk {printable(self.path)}.",
                ) from None
            raise FatalError(f"cannot open {printable(self.given)}: {reason_of(error)}") from None

    def close(self) -> None:
        """Let go of the directory."""
        self._place.close()


def target_at(image: bytes) -> Target:
    """Return the place of an image, which need not be there yet. Raises FatalError, UsageError."""
    if not image or image.endswith(b"/"):
        raise UsageError(f"{printable(image)} is no name of an image", "Name a file.")
    try:
        place = safe_file.find(image)
    except OSError as error:
        raise FatalError(
            f"cannot use the image {printable(image)}: {reason_of(error)}", "Is its directory there?"
        ) from (None)
    try:
        safe_file.refuse_strange_links(place, f"the image {printable(image)}")
        if place.descriptor >= 0:
            raise UsageError(f"{printable(image)} is an open file of this process", "Name a file.")
        if place.status is not None and stat.S_ISDIR(place.status.st_mode):
            raise UsageError(f"the image {printable(image)} is a directory", "Name a file in it.")
    except BaseException:
        place.close()
        raise
    return Target(image, place)


def lock(fd: int, called: bytes) -> None:
    """Lock an open image for this run; it is unlocked with its last descriptor. Raises FatalError if another has it."""
    if not _locked(fd):
        raise FatalError(f"another run is using {printable(called)}", "Wait until it has ended.")


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def refuse_attached(status: os.stat_result, called: bytes) -> None:
    """Raise FatalError if a loop device of anybody's lies over a file or block device."""
    loops = attached_to(status)
    if loops:
        raise FatalError(
            f"{printable(called)} is attached as {printable(loops[0])}",
            f"Unmount what is mounted of it; then: losetup -d {printable(loops[0])}",
        )


class Stage:
    """A new image under another name beside its own, locked. Nobody else may read it."""

    def __init__(self, target: Target, name: bytes, fd: int, kept: bool) -> None:
        """kept: it is an earlier run's, which was ended in good order."""
        self.target = target
        self.fd = fd
        self.kept = kept
        self._name = name

    @property
    def path(self) -> bytes:
        """Where it is, for messages and programs that want a path."""
        return child_path(os.path.dirname(self.target.path), self._name)

    @property
    def identity(self) -> Identity:
        return identity(os.fstat(self.fd))

    @property
    def is_open(self) -> bool:
        """Whether it has neither been published, kept nor removed."""
        return self.fd >= 0

    def empty(self, size: int) -> None:
        """Make it a file of size bytes without any content. Raises FatalError."""
        try:
            os.ftruncate(self.fd, 0)
            os.ftruncate(self.fd, size)
        except OSError as error:
            raise FatalError(
                f"cannot make {printable(self.target.given)} of {size:,} bytes: {reason_of(error)}",
                "Its file system may hold no file that big: name another place.",
            ) from None

    def publish(self, replaced: os.stat_result | None = None) -> None:
        """Have it stored, and give it the image's name. Raises FatalError.

        replaced: the file that may have that name now; None: nothing may
        """
        directory, name = self.target.directory, self.target.name
        try:
            os.fsync(self.fd)
            self._check_name()
            if replaced is None:
                rename_if_free(self._name, directory, name, directory)
            else:
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if identity(found) != identity(replaced):
                    raise FileExistsError(errno.EEXIST, "there is another file of that name by now")
                os.rename(self._name, name, src_dir_fd=directory, dst_dir_fd=directory)
            store_names(directory)
        except OSError as error:
            raise FatalError(
                f"cannot give {printable(self.path)} the name {printable(self.target.given)}: {reason_of(error)}"
            ) from None
        self._name = name
        self.close()

    def keep(self) -> bytes:
        """Have it stored, and leave it for the next run of the same command; return where. Raises FatalError.

        Nothing of it may be mounted or attached any more.
        """
        directory, kept = self.target.directory, _stage_name(self.target.name, KEPT)
        try:
            os.fsync(self.fd)
            self._check_name()
            os.rename(self._name, kept, src_dir_fd=directory, dst_dir_fd=directory)
            store_names(directory)
        except OSError as error:
            raise FatalError(f"cannot keep {printable(self.path)}: {reason_of(error)}") from None
        self._name = kept
        path = self.path
        self.close()
        return path

    def remove(self) -> None:
        """Remove it, if it is still there. Twice is as good as once."""
        if self.fd < 0:
            return
        with suppress(OSError):
            self._check_name()
            os.unlink(self._name, dir_fd=self.target.directory)
        self.close()

    def close(self) -> None:
        """Let go of it, also for loop devices that still have its file open."""
        if self.fd >= 0:
            with suppress(OSError):
                fcntl.flock(self.fd, fcntl.LOCK_UN)
            os.close(self.fd)
            self.fd = -1

    def _check_name(self) -> None:
        """Raise OSError if something else has the name by now."""
        found = os.stat(self._name, dir_fd=self.target.directory, follow_symlinks=False)
        if identity(found) != self.identity:
            raise OSError(errno.ESTALE, "another user exchanged it while it was written")


def stage_of(target: Target) -> Stage:
    """Return a stage for an image: the one that an earlier run has kept, or a new, empty one. Raises FatalError.

    What killed runs left in that directory is removed.
    """
    try:
        remove_leftovers(target)
        return _kept(target) or _new(target)
    except OSError as error:
        raise FatalError(
            f"cannot make {printable(target.given)}: {reason_of(error)}", "An image is made beside its name."
        ) from None


def remove_leftovers(target: Target) -> list[bytes]:
    """Remove the stages of killed runs in the directory of an image; return their paths. Raises OSError."""
    removed = []
    for name in _names(target.directory):
        if name.startswith(PREFIX) and name.endswith(PART):
            fd = _taken(target.directory, name)
            if fd is None:
                continue
            try:
                if not attached_to(os.fstat(fd)):
                    os.unlink(name, dir_fd=target.directory)
                    removed.append(child_path(os.path.dirname(target.path), name))
            finally:
                os.close(fd)
    return removed


def _names(directory: int) -> Iterator[bytes]:
    fd = os.open(b"/proc/self/fd/%d" % directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from map(os.fsencode, os.listdir(fd))
    finally:
        os.close(fd)


def _taken(directory: int, name: bytes) -> int | None:
    """Return a descriptor of a stage of ours that nobody has locked, which then is; None if it is not that."""
    try:
        fd = os.open(name, _OPEN, dir_fd=directory)
    except OSError:
        return None
    try:
        if _is_stage(os.fstat(fd)) and _lock_is_free(fd):
            # Who had it may have given it a name, or removed it, before it was locked here.
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if identity(found) == identity(os.fstat(fd)):
                return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _is_stage(status: os.stat_result) -> bool:
    """Return whether an open file is a stage of this user's, and not only called so."""
    mode = stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == _MODE
    return mode and status.st_uid == os.geteuid() and status.st_nlink == 1


def _lock_is_free(fd: int) -> bool:
    """Lock an open file; return whether that was possible. Without locks nobody knows whether it is free."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _kept(target: Target) -> Stage | None:
    """Return the stage that an earlier run of the same command has kept."""
    name = _stage_name(target.name, KEPT)
    fd = _taken(target.directory, name)
    if fd is None:
        return None
    part = _stage_name(target.name, PART)
    try:
        if attached_to(os.fstat(fd)):
            raise OSError(errno.EBUSY, f"{printable(name)}, which an earlier run has kept, is attached")
        rename_if_free(name, target.directory, part, target.directory)
        return Stage(target, part, fd, True)
    except FileExistsError:
        os.close(fd)
        raise FatalError(*_other_run(target)) from None
    except BaseException:
        os.close(fd)
        raise


def _new(target: Target) -> Stage:
    name = _stage_name(target.name, PART)
    for _ in range(_TRIES):
        try:
            fd = os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, _MODE, dir_fd=target.directory)
        except FileExistsError:
            raise FatalError(*_other_run(target)) from None
        try:
            os.fchmod(fd, _MODE)
            if _locked(fd) and os.fstat(fd).st_nlink == 1:
                return Stage(target, name, fd, False)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # another run took it for a leftover before it was locked
    raise FatalError(*_other_run(target))


def _other_run(target: Target) -> tuple[str, str]:
    path = child_path(os.path.dirname(target.path), _stage_name(target.name, PART))
    return (
        f"another run is making {printable(target.given)}: {printable(path)} is there",
        "Wait until it has ended. If there is none, remove that file: losetup -l shows whether it is in use.",
    )


def _stage_name(name: bytes, end: bytes) -> bytes:
    if len(name) > _LONGEST:
        name = name[:_LONGEST] + b"~" + hashlib.sha256(name).hexdigest()[:16].encode()
    return PREFIX + name + end


def store_names(directory: int) -> None:
    """Have the names in a directory stored. Raises OSError."""
    fd = os.open(b"/proc/self/fd/%d" % directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # where directories cannot be synced
            raise
    finally:
        os.close(fd)

"""Loop devices by ioctl. Each is detached by the kernel when it is closed, also when this process is killed."""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress

from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import printable

_CONTROL = "/dev/loop-control"
_GET_FREE = 0x4C82
_SET_FD = 0x4C00
_CLR_FD = 0x4C01
_SET_STATUS = 0x4C04
_GET_STATUS = 0x4C05
_SET_CAPACITY = 0x4C07
_SET_BLOCK_SIZE = 0x4C09
_CONFIGURE = 0x4C0A  # Linux 5.8
_READ_ONLY = 1
_AUTOCLEAR = 4
_DIRECT = 16
_INFO = "=QQQQQIIII64s64s32sQQ"  # struct loop_info64
_TRIES = 64  # numbers that others take before us


class Loop:
    """A loop device that is attached as long as it is open."""

    def __init__(self, path: bytes, fd: int) -> None:
        self.path = path
        self.fd = fd

    def close(self) -> None:
        """Detach it; what is mounted on it keeps it. Twice is as good as once."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> "Loop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def attach(
    fd: int,
    writable: bool = False,
    offset: int = 0,
    size: int = 0,
    sector: int = 512,
    direct: bool = False,
    name: bytes = b"",
) -> Loop:
    """Return a loop device over an open image file or block device. Raises FatalError.

    offset, size: the part that it shows, in bytes; size 0: to the end. sector: bytes of a sector
    direct: past the page cache of the file, where that can be. name: of the file, for messages
    """
    flags = _AUTOCLEAR | (0 if writable else _READ_ONLY) | (_DIRECT if direct else 0)
    label = os.path.basename(name)[:63]
    info = struct.pack(_INFO, 0, 0, 0, offset, size, 0, 0, 0, flags, label, b"", b"", 0, 0)
    try:
        return _attached(fd, sector, info, os.O_RDWR if writable else os.O_RDONLY)
    except OSError as error:
        raise FatalError(f"cannot attach a loop device to {printable(name)}: {reason_of(error)}", _remedy(error)) from (
            None
        )


def _attached(fd: int, sector: int, info: bytes, mode: int) -> Loop:
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            number = fcntl.ioctl(control, _GET_FREE)
            path = b"/dev/loop%d" % number
            device = _opened(path, number, mode)
            try:
                _configure(device, fd, sector, info)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
                continue
            except BaseException:
                os.close(device)
                raise
            # Who probes new devices, as udevd does, leaves alone what is locked.
            with suppress(OSError):
                fcntl.flock(device, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Loop(path, device)
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "others took every loop device that was free")


def _opened(path: bytes, number: int, mode: int) -> int:
    """Return a descriptor of a loop device, whose node is made if nobody did, as in containers. Raises OSError."""
    try:
        return os.open(path, mode | os.O_CLOEXEC)
    except FileNotFoundError:
        with open(f"/sys/block/loop{number}/dev") as file:
            major, minor = map(int, file.read().split(":"))
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(major, minor))
        return os.open(path, mode | os.O_CLOEXEC)


def _configure(device: int, fd: int, sector: int, info: bytes) -> None:
    """Attach an open file. Raises OSError."""
    try:
        fcntl.ioctl(device, _CONFIGURE, struct.pack("=II", fd, sector) + info + bytes(64))
        return
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTTY):
            raise
        refused = error
    # Linux before 5.8, or a file system that cannot do direct I/O.
    values = list(struct.unpack(_INFO, info))
    values[8] &= ~_DIRECT
    plain = struct.pack(_INFO, *values)
    if plain != info:
        with suppress(OSError):
            fcntl.ioctl(device, _CONFIGURE, struct.pack("=II", fd, sector) + plain + bytes(64))
            return
    if refused.errno == errno.EINVAL and _knows_configure():
        raise refused
    fcntl.ioctl(device, _SET_FD, fd)
    try:
        fcntl.ioctl(device, _SET_STATUS, plain)
        if sector != 512:
            fcntl.ioctl(device, _SET_BLOCK_SIZE, sector)
    except OSError:
        with suppress(OSError):
            fcntl.ioctl(device, _CLR_FD)
        raise


def _knows_configure() -> bool:
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (5, 8)


def _remedy(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            "Images need root. In a container: --cap-add SYS_ADMIN --device-cgroup-rule 'b 7:* rmw' "
            "-v /dev:/dev --security-opt seccomp=unconfined."
        )
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return "Is the loop module loaded (modprobe loop), and /dev/loop-control there? A container needs -v /dev:/dev."
    if error.errno in (errno.EBUSY, errno.ENOSPC):
        return "No loop device is free: losetup -l shows who has them."
    return ""


def resized(loop: Loop) -> None:
    """Have a loop device see that its file has grown. Raises OSError."""
    fcntl.ioctl(loop.fd, _SET_CAPACITY)


def attached_to(status: os.stat_result) -> list[bytes]:
    """Return the loop devices, of anybody on this machine, that lie over a file or block device.

    status: stat's of that
    """
    return [path for path, device, inode, node in _attached_files() if _is_that(status, device, inode, node)]


def attached_to_device(number: int) -> list[bytes]:
    """Return the loop devices, of anybody on this machine, that lie over the block device of a number."""
    return [path for path, _, _, node in _attached_files() if node == number]


def attached_beside(fd: int) -> list[bytes]:
    """Return the other loop devices over the file or device that an open loop device lies over; of others none."""
    try:
        values = struct.unpack(_INFO, fcntl.ioctl(fd, _GET_STATUS, bytes(struct.calcsize(_INFO))))
    except OSError:
        return []
    number = os.fstat(fd).st_rdev
    found = [path for path, *behind in _attached_files() if tuple(behind) == values[:3]]
    return [path for path in found if os.stat(path).st_rdev != number]


def _is_that(status: os.stat_result, device: int, inode: int, node: int) -> bool:
    if stat.S_ISBLK(status.st_mode):
        return node == status.st_rdev
    return (device, inode) == (status.st_dev, status.st_ino)


def _attached_files() -> Iterator[tuple[bytes, int, int, int]]:
    """Yield each loop device that is in use, with the device, inode and device number of what it lies over."""
    for name in sorted(os.listdir("/sys/block")):
        if not name.startswith("loop") or not os.path.exists(f"/sys/block/{name}/loop/backing_file"):
            continue
        path = b"/dev/" + os.fsencode(name)
        with suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                values = struct.unpack(_INFO, fcntl.ioctl(fd, _GET_STATUS, bytes(struct.calcsize(_INFO))))
            finally:
                os.close(fd)
            yield path, values[0], values[1], values[2]

"""Block devices: what they are, who uses them, and how one is held so that nobody else can.

The kernel gives a device that is opened exclusively to nobody who wants to mount it or a partition of it, to make swap
or a volume of it, in any namespace; and it does not give us one that is used so.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from hpcp_mpi.host.block.loops import attached_beside, attached_to_device
from hpcp_mpi.host.block.probing import own_sector, size_of
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import in_one_line, printable

_BLKRRPART: Final = 0x125F
_SECTOR: Final = 512  # of sysfs, whatever the device's is


@dataclass(frozen=True, slots=True)
class Device:
    """What is known of a block device. Numbers are st_rdev's."""

    path: bytes
    number: int
    size: int  # bytes
    sector: int
    model: str
    serial: str
    read_only: bool
    whole: bool  # no partition of another
    disk: int  # the number of the disk: its own, or that of the disk whose partition it is
    partitions: tuple[tuple[int, int], ...]  # number in the table, number of the device

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of the device and its partitions."""
        return frozenset({self.number, *(device for _, device in self.partitions)})


def is_block(fd: int) -> bool:
    """Return whether an open file is a block device."""
    return stat.S_ISBLK(os.fstat(fd).st_mode)


def device_of(fd: int, path: bytes) -> Device:
    """Return what is known of an open block device."""
    number = os.fstat(fd).st_rdev
    here = _sysfs(number)
    whole = not os.path.exists(f"{here}/partition")
    disk = here if whole else os.path.realpath(f"{here}/..")
    return Device(
        path=path,
        number=number,
        size=size_of(fd),
        sector=own_sector(fd),
        model=_model(disk),
        serial=_first_text(f"{disk}/serial", f"{disk}/device/serial", f"{disk}/dm/uuid"),
        read_only=_text(f"{here}/ro") == "1",
        whole=whole,
        disk=_number(f"{disk}/dev"),
        partitions=tuple(_partitions(disk)) if whole else (),
    )


def opened_exclusively(path: bytes) -> int:
    """Return a descriptor of a whole disk, which from then on nobody else can use but by it. Raises FatalError."""
    shown = printable(path)
    try:
        fd = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        reason, remedy = (
            reason_of(error),
            "Unmount it, and end what uses it: lsblk, findmnt, swapon --show, dmsetup ls.",
        )
        with suppress(OSError):
            using = users_of(os.stat(path).st_rdev)
            reason += f": {'; '.join(using)}" if using else ""
        raise FatalError(f"cannot have {shown} alone: {reason}", remedy) from None
    try:
        if not is_block(fd):
            raise FatalError(f"{shown} is no block device", "Name a disk, or the name of a new image.")
        _refuse_unfit(device_of(fd, path), fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _refuse_unfit(device: Device, fd: int) -> None:
    shown = printable(device.path)
    if not device.whole:
        raise FatalError(f"{shown} is a partition, not a whole disk", "Name the disk.")
    if device.read_only:
        raise FatalError(f"{shown} is read-only", "blockdev --setrw, or the switch of the disk.")
    using = users_of(device.number)
    if using:  # a loop device over it does not count for the kernel
        raise FatalError(f"{shown} is in use: {'; '.join(using)}", "End that: losetup -l, lsblk, findmnt.")
    others = attached_beside(fd)
    if others:
        raise FatalError(f"{shown} and {printable(others[0])} are loop devices of one file", "End that: losetup -l.")


def extent_of(number: int) -> tuple[int, int]:
    """Return where the kernel has the partition of a device: (offset, size) in bytes. 0: not known."""
    here = _sysfs(number)
    start, size = (int(_text(f"{here}/{name}") or 0) * _SECTOR for name in ("start", "size"))
    return start, size


def users_of(number: int) -> list[str]:
    """Return who uses a block device, a partition of it, or what is made of them; each as words for people."""
    numbers = _named(number)
    loops = [
        f"{in_one_line(os.fsdecode(loop))} lies over {name}"
        for each, name in numbers.items()
        for loop in attached_to_device(each)
    ]
    return holders_of(number) + loops + _mounts(numbers)


def holders_of(number: int) -> list[str]:
    """Return what a block device, or a partition of it, is a part of: swap, a volume, an array; as words for people."""
    numbers = _named(number)
    found = [
        f"{name} belongs to {holder}" for each, name in numbers.items() for holder in _names(f"{_sysfs(each)}/holders")
    ]
    return found + [f"{numbers[each]} is swap" for each in _swaps() if each in numbers]


def is_held(number: int) -> bool:
    """Return whether somebody has a block device for himself, as ZFS does with what it is made of."""
    try:
        os.close(os.open(node_of(number), os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EBUSY
    except FatalError:  # no node
        return False
    return False


def _named(number: int) -> dict[int, str]:
    """Return the numbers of a block device and its partitions, with their names."""
    here = _sysfs(number)
    found = {number: os.path.basename(here)}
    found.update({device: name for name, device in _children(here)})
    return found


def mount_of(number: int) -> tuple[bytes, str] | None:
    """Return where a device is mounted in this process's namespace, and its file system's options; None: nowhere."""
    with suppress(OSError), open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            words = line.split()
            if number in (_device_number(words[2]), _by_source(words)):
                return _unescaped(words[4]), os.fsdecode(words[words.index(b"-") + 3])
    return None


def node_of(number: int) -> bytes:
    """Return the path of the node of a block device. Raises FatalError where there is none."""
    for line in _text(f"{_sysfs(number)}/uevent", lines=True).splitlines():
        name, _, value = line.partition("=")
        if name == "DEVNAME":
            path = os.fsencode(f"/dev/{value}")
            with suppress(OSError):
                status = os.stat(path)
                if stat.S_ISBLK(status.st_mode) and status.st_rdev == number:
                    return path
    raise FatalError(f"there is no node in /dev of the block device {os.major(number)}:{os.minor(number)}")


def reread_table(fd: int) -> str:
    """Have the kernel read the partitions of a disk anew; return why it did not; "": it did, or never has any."""
    try:
        fcntl.ioctl(fd, _BLKRRPART)
    except OSError as error:
        return "" if error.errno == errno.EINVAL else reason_of(error)
    return ""


def _mounts(numbers: dict[int, str]) -> list[str]:
    """Return the mounts of devices, in every namespace that a process is in."""
    found: dict[str, str] = {}
    seen = set()
    for process in ["self", *sorted(filter(str.isdecimal, os.listdir("/proc")), key=int)]:
        with suppress(OSError):
            namespace = os.readlink(f"/proc/{process}/ns/mnt")
            if namespace in seen:
                continue
            seen.add(namespace)
            for number, place in _mounted(process):
                if number in numbers:
                    where = f"{numbers[number]} is mounted on {printable(place)}"
                    found.setdefault(where, "" if process == "self" else f" (as process {process} sees it)")
    return [where + who for where, who in found.items()]


def _mounted(process: str) -> Iterator[tuple[int, bytes]]:
    """Yield the device number and the place of each mount that a process sees. Of btrfs it is that of its source."""
    with suppress(OSError), open(f"/proc/{process}/mountinfo", "rb") as file:
        for line in file:
            words = line.split()
            number = _by_source(words) if words[2].startswith(b"0:") else _device_number(words[2])
            if number:
                yield number, _unescaped(words[4])


def _by_source(words: list[bytes]) -> int:
    """Return the number of the device that a line of mountinfo names as the source; 0: none."""
    source = words[words.index(b"-") + 2]
    with suppress(OSError):
        if source.startswith(b"/dev/"):
            status = os.stat(source)
            return status.st_rdev if stat.S_ISBLK(status.st_mode) else 0
    return 0


def _unescaped(path: bytes) -> bytes:
    """Return a path of mountinfo as it is: blanks and backslashes are \\NNN there."""
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found.group(1), 8)]), path)


def _device_number(text: bytes) -> int:
    major, minor = text.split(b":")
    return os.makedev(int(major), int(minor))


def _swaps() -> Iterator[int]:
    with suppress(OSError), open("/proc/swaps", "rb") as file:
        for line in file.readlines()[1:]:
            with suppress(OSError):
                status = os.stat(line.split()[0])
                if stat.S_ISBLK(status.st_mode):
                    yield status.st_rdev


def _sysfs(number: int) -> str:
    return os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")


def _children(here: str) -> Iterator[tuple[str, int]]:
    """Yield name and number of the devices of the partitions of a disk."""
    for name in _names(here):
        if os.path.exists(f"{here}/{name}/partition"):
            yield name, _number(f"{here}/{name}/dev")


def _partitions(here: str) -> Iterator[tuple[int, int]]:
    for name, number in _children(here):
        yield int(_text(f"{here}/{name}/partition") or 0), number


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _number(path: str) -> int:
    text = _text(path)
    return _device_number(text.encode()) if ":" in text else 0


def _model(disk: str) -> str:
    words = [_text(f"{disk}/device/vendor"), _text(f"{disk}/device/model")]
    behind = _text(f"{disk}/loop/backing_file")
    if behind:
        return f"loop device over {behind}"
    name = _text(f"{disk}/dm/name")
    known = " ".join(word for word in words if word and not word.startswith("0x"))
    return f"device mapper {name}" if name else known


def _first_text(*paths: str) -> str:
    return next(filter(None, map(_text, paths)), "")


def _text(path: str, lines: bool = False) -> str:
    """Return what a file of sysfs says, "" if nothing; lines: as they are, else in one."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8", "surrogateescape").strip()
            return text if lines else in_one_line(text)
    except OSError:
        return ""

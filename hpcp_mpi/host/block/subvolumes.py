"""The subvolumes of a mounted btrfs: which there are, and new ones at the same paths."""

import fcntl
import os
import re
import struct
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from hpcp_mpi.host.commands import answer_of
from hpcp_mpi.host.dirfd import Tree, path_of
from hpcp_mpi.vocab.errors import FatalError, reason_of
from hpcp_mpi.vocab.paths import in_one_line, printable

_ROOT = 256  # the inode of each subvolume's root
_TOP = 5
_CREATE = 0x5000940E  # BTRFS_IOC_SUBVOL_CREATE
_LOOKUP = 0xD0009412  # BTRFS_IOC_INO_LOOKUP
_SET_DEFAULT = 0x40089413  # BTRFS_IOC_DEFAULT_SUBVOL
_GET_FLAGS = 0x80089419
_SET_FLAGS = 0x4008941A
_READ_ONLY = 2
_LINE = re.compile(rb"^ID (\d+) gen \d+ .*?top level \d+ (?:.*? )?path ", re.DOTALL)
_BEGIN = re.compile(rb"^ID \d+ gen \d+ ")


@dataclass(frozen=True, slots=True)
class Subvolumes:
    """The subvolumes below the top: their paths, parents first. default: the path of that which is mounted; b"": top"""

    paths: tuple[bytes, ...] = ()
    default: bytes = b""
    read_only: frozenset[bytes] = frozenset()
    snapshots: int = 0


def subvolumes_of(mount: bytes) -> Subvolumes:
    """Return the subvolumes of a btrfs whose top is mounted. Raises FatalError."""
    numbers = _listed(mount)
    paths = sorted(numbers.values(), key=lambda path: (path.count(b"/"), path))
    read_only = set()
    with closing(Tree(mount)) as tree:
        for path in paths:
            if _is_read_only(tree, path):
                read_only.add(path)
    said = _output(["btrfs", "subvolume", "get-default", mount])
    found = re.match(rb"ID (\d+)", said)
    default = int(found.group(1)) if found else 0
    if default != _TOP and default not in numbers:
        raise FatalError(f"the default subvolume is not understood: {in_one_line(os.fsdecode(said))}")
    snapshots = len(_records(_output(["btrfs", "subvolume", "list", "-s", mount])))
    return Subvolumes(tuple(paths), numbers.get(default, b""), frozenset(read_only), snapshots)


def make_subvolumes(mount: bytes, found: Subvolumes) -> None:
    """Make subvolumes at these paths of a new btrfs, the directories above them too. Raises FatalError."""
    for path in found.paths:
        parent, name = os.path.split(mount + b"/" + path)
        try:
            os.makedirs(parent, exist_ok=True)
            with _Opened(parent) as fd:
                fcntl.ioctl(fd, _CREATE, bytearray(struct.pack("=q4088s", 0, name)))
            if path == found.default:
                _set_default(mount, path)
        except OSError as error:
            raise FatalError(f"cannot make the subvolume {printable(path)}: {reason_of(error)}") from None


def close_subvolumes(mount: bytes, found: Subvolumes) -> None:
    """Have those be read-only that are in the source. Raises FatalError."""
    for path in found.read_only:
        try:
            with _Opened(mount + b"/" + path) as fd:
                flags = struct.unpack("=Q", fcntl.ioctl(fd, _GET_FLAGS, bytes(8)))[0]
                fcntl.ioctl(fd, _SET_FLAGS, struct.pack("=Q", flags | _READ_ONLY))
        except OSError as error:
            raise FatalError(f"cannot make the subvolume {printable(path)} read-only: {reason_of(error)}") from None


def _set_default(mount: bytes, path: bytes) -> None:
    with _Opened(mount + b"/" + path) as fd:
        looked_up = bytearray(struct.pack("=QQ4080s", 0, _ROOT, b""))
        fcntl.ioctl(fd, _LOOKUP, looked_up)
        fcntl.ioctl(fd, _SET_DEFAULT, bytes(looked_up[:8]))


def _listed(mount: bytes) -> dict[int, bytes]:
    """Return path and number of each subvolume, as the kernel has them: a name may hold line breaks."""
    found: dict[int, bytes] = {}
    for record in _records(_output(["btrfs", "subvolume", "list", mount])):
        match = _LINE.match(record)
        if match is None:
            raise FatalError(f"what btrfs says of subvolumes is not understood: {in_one_line(os.fsdecode(record))}")
        found[int(match.group(1))] = record[match.end() :]
    return found


def _records(text: bytes) -> list[bytes]:
    records: list[bytes] = []
    for line in text.removesuffix(b"\n").split(b"\n") if text else ():
        if _BEGIN.match(line) or not records:
            records.append(line)
        else:
            records[-1] += b"\n" + line
    return records


def _is_read_only(tree: Tree, path: bytes) -> bool:
    """Return whether a subvolume is read-only. Raises FatalError where there is none: a name has forged it."""
    try:
        if path.startswith(b"/") or b".." in path.split(b"/"):
            raise OSError("no path")
        with tree.at(path) as handle, _Opened(path_of(handle)) as fd:
            if os.fstat(fd).st_ino != _ROOT:
                raise OSError("no subvolume")
            return bool(struct.unpack("=Q", fcntl.ioctl(fd, _GET_FLAGS, bytes(8)))[0] & _READ_ONLY)
    except OSError:
        raise FatalError(
            f"what btrfs says of subvolumes is not understood: {printable(path)} is none",
            "Copy the partition block by block: --raw.",
        ) from None


def _output(words: Sequence[bytes | str]) -> bytes:
    answer = answer_of(words)
    if answer.code:
        raise FatalError(f"the subvolumes of a btrfs cannot be listed: {in_one_line(answer.words)}")
    return answer.output


class _Opened:
    """A directory that is open as long as it is entered."""

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> int:
        self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

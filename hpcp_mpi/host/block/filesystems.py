"""What the tools of file systems say of one that is not mounted: its geometry as text, its label and UUID.

Label and UUID are read from the superblock itself: tools print a label as it is, whatever it holds.
"""

import os
import uuid as uuids
from typing import NamedTuple

from hpcp_mpi.host.commands import answer_of
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.paths import in_one_line, printable

_EXT = ("ext2", "ext3", "ext4")
_SUPERBLOCK = 1 << 16  # where that of btrfs is
_READ = _SUPERBLOCK + 4096
_SWAP_HEADER = 1 << 16


class _Place(NamedTuple):
    """Where label and UUID are, from the begin of the device."""

    magic: bytes
    at: int  # where the magic is
    label: int
    length: int  # of the label at most
    uuid: int


_PLACES = {
    **dict.fromkeys(_EXT, _Place(b"\x53\xef", 1024 + 56, 1024 + 120, 16, 1024 + 104)),
    "xfs": _Place(b"XFSB", 0, 108, 12, 32),
    "btrfs": _Place(b"_BHRfS_M", _SUPERBLOCK + 64, _SUPERBLOCK + 299, 256, _SUPERBLOCK + 32),
}


class FileSystem(NamedTuple):
    """A file system on a device. text: what its tool prints, for operations/imaging/rules"""

    text: str
    label: bytes
    uuid: str


def file_system_of(device: bytes, type: str) -> FileSystem:
    """Return what is known of the file system on a device: ext2, ext3, ext4, xfs, btrfs. Raises FatalError."""
    device = os.path.abspath(device)
    if type in _EXT:
        text = _printed(device, type, b"dumpe2fs", b"-h", device)
    elif type == "xfs":
        text = _printed(device, type, b"xfs_db", b"-r", b"-c", b"info", device)
    else:
        inspect = b"btrfs", b"inspect-internal"
        text = _printed(device, type, *inspect, b"dump-super", device)
        text += "\n" + _printed(device, type, *inspect, b"dump-tree", b"-t", b"chunk", device)
    head, place = head_of(device, _READ), _PLACES[type]
    if head[place.at : place.at + len(place.magic)] != place.magic:
        raise FatalError(
            f"{printable(device)} holds no {type} any more: its superblock is another one by now",
            "Somebody else writes to it. Start again when that has ended",
        )
    label = head[place.label : place.label + place.length].partition(b"\0")[0]
    return FileSystem(text, label, str(uuids.UUID(bytes=head[place.uuid : place.uuid + 16])))


def head_of(device: bytes, length: int = _SWAP_HEADER) -> bytes:
    """Return the first bytes of a device. Raises FatalError."""
    try:
        with open(device, "rb", buffering=0) as file:
            return os.pread(file.fileno(), length, 0)
    except OSError as error:
        raise FatalError(f"cannot read {printable(device)}: {error.strerror}", "Nothing was changed") from None


def _printed(device: bytes, type: str, *words: bytes) -> str:
    done = answer_of(words)
    if done.code:
        said = done.errors.decode("utf-8", "replace").strip().splitlines()
        raise FatalError(
            f"{words[0].decode()} cannot read the {type} on {printable(device)}: {in_one_line('; '.join(said[-3:]))}",
            "It is damaged, or newer than this machine's tools: check it, or copy it with --raw",
        )
    return done.output.decode("utf-8", "surrogateescape")

"""How the directories are called that the partitions of an image land in. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_MOST = 255  # bytes of a name


class Named(NamedTuple):
    """A partition, as its table and its file system call it: untrusted words."""

    number: int
    name: str  # of the partition
    label: str  # of the file system


def directory_names(partitions: Sequence[Named]) -> list[bytes]:
    """Return the name of a directory for each partition; no two are equal, and each is one component of a path.

    It is the partition's name, else the label, else partN; of those that would be equal each gets its number.
    """
    wanted = [_clean(each) for each in partitions]
    counts = Counter(wanted)
    taken = {name for name in wanted if counts[name] == 1}
    found = []
    for name, each in zip(wanted, partitions, strict=True):
        if counts[name] > 1:
            name = _numbered(name, each.number, taken)
            taken.add(name)
        found.append(name)
    return found


def _clean(partition: Named) -> bytes:
    for text in (partition.name, partition.label):
        name = _bytes(text).replace(b"/", b"_").replace(b"\0", b"_")[:_MOST]
        if name in (b".", b".."):
            break
        if name.strip():
            return name
    return b"part%d" % partition.number


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # halves of UTF-16 pairs in the name of a GPT
        return text.encode("utf-8", "surrogatepass")


def _numbered(name: bytes, number: int, taken: set[bytes]) -> bytes:
    end = b"-%d" % number
    while (found := name[: _MOST - len(end)] + end) in taken:
        end += b"-%d" % number
    return found


def picks(number: int, name: str, wanted: str) -> bool:
    """Return whether a partition is the one that a word of the command line means: its number or its name."""
    return wanted == str(number) or (wanted == name and wanted != "")

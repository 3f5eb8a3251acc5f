"""The words that mksquashfs and unsquashfs are given, and what theirs mean. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hpcp_mpi.vocab.errors import UsageError

MAGIC = b"hsqs"  # the first bytes of a squashfs
LOST = "whole seconds, no POSIX ACLs"  # what a squashfs does not store
_COMPRESSED = ("-comp", "zstd", "-Xcompression-level", "3")
_PLAIN = ("-noappend", "-no-progress", "-quiet", "-reproducible")
_SPECIAL = re.compile(rb"[^A-Za-z0-9_/\x80-\xff]")  # of fnmatch(3), and of lists of excludes
_EMPTY = re.compile(rb"(?s)Failed to read file (.*), creating empty file")
_NO_ACL = re.compile(rb"Unrecognised xattr prefix system\.posix_acl_")
_NO_XATTR = re.compile(rb"Unrecognised xattr prefix |[a-z_]*xattr: ")
_NO_DEVICE = re.compile(rb"create_inode: could not create .*, because you're not superuser!")
_ADVICE = re.compile(rb"to avoid this error message|Further error messages of this type")
# The oldest unsquashfs that does not follow the symlinks of an image: CVE-2021-40153 and CVE-2021-41072.
_SAFE = (4, 5, 1)
_VERSION = re.compile(r"unsquashfs version (\d+)\.(\d+)(?:\.(\d+))?")


class Said(NamedTuple):
    """What a line of mksquashfs or unsquashfs means."""

    kind: str  # empty: a file of which it read nothing; acl, attribute: it is not stored; other
    text: bytes  # the file, or the line


def pattern(path: bytes) -> bytes:
    """Return the exclude pattern of mksquashfs -wildcards that means exactly one path."""
    return _SPECIAL.sub(lambda match: b"\\" + match[0], path)


def excluding(paths: Iterable[bytes]) -> tuple[bytes, list[bytes]]:
    """Return the text of a list of excludes, and the patterns that can only be words: a list has no newline in a name.

    paths: as mksquashfs knows them
    """
    lines: list[bytes] = []
    words: list[bytes] = []
    for path in paths:
        (words if b"\n" in path else lines).append(pattern(path))
    return b"".join(line + b"\n" for line in lines), words


def making(processors: int, options: Sequence[str]) -> list[str]:
    """Return the options for mksquashfs. options: the user's words. Raises UsageError for those that end ours."""
    for word in options:
        if word in ("-e", "-ef", "-wildcards", "-regex"):
            raise UsageError(
                f"--mkfs-option={word}: what is left out of a squashfs is not said to mksquashfs", "Use -e or -x."
            )
    compressed = () if "-comp" in options else _COMPRESSED
    return [*_PLAIN, *compressed, "-processors", f"{processors}", *options, "-wildcards"]


def said(errors: bytes) -> list[Said]:
    """Return what the lines on standard error mean. One that ends within a name is joined with the next ones."""
    found: list[Said] = []
    for line in errors.split(b"\n"):
        if match := _EMPTY.fullmatch(line):
            found.append(Said("empty", match[1]))
        elif _NO_ACL.match(line):
            found.append(Said("acl", line))
        elif _NO_XATTR.match(line):
            found.append(Said("attribute", line))
        elif line.strip():
            found.append(Said("other", line))
    return found


def refused(errors: bytes) -> list[Said]:
    """Return what the lines of an unsquashfs mean that could not do all: device and attribute are a user's lack."""
    found: list[Said] = []
    for line in errors.split(b"\n"):
        if _NO_DEVICE.match(line):
            found.append(Said("device", line))
        elif b"xattr" in line and not _ADVICE.search(line):
            found.append(Said("attribute", line))
        elif line.strip() and not _ADVICE.search(line):
            found.append(Said("other", line))
    return found


def is_safe(version: str) -> bool:
    """Return whether an unsquashfs may unpack an image of somebody else. version: its first line"""
    match = _VERSION.match(version)
    return match is not None and tuple(int(part or 0) for part in match.groups()) >= _SAFE

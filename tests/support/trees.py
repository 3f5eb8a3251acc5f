"""Builder of file trees from a description.

    build(root, {
        "a.txt": File(b"hello", mode=0o640, mtime_ns=1),
        "sub": Dir({"link": Symlink("../a.txt"), "twin": HardLink("a.txt")}, mode=0o555),
    })

Names may be str or bytes, any bytes at all, and nesting may go beyond PATH_MAX: every step is taken from a
directory descriptor. Metadata is set when all content is there, children before parents, so that directories
keep their times.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

Name = str | bytes
Root = str | bytes | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Node:
    """The metadata that any entry can have. None leaves what the system gives."""

    mode: int | None = None
    mtime_ns: int | None = None  # nanoseconds since 1970; may be negative
    owner: tuple[int, int] | None = None  # uid, gid: needs root
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    acl: str | None = None  # as for setfacl, e.g. "u::rw-,u:65534:r--,g::r--,m::rw-,o::---"


@dataclass(frozen=True)
class File(Node):
    content: bytes = b""
    mode: int | None = field(default=0o644, kw_only=True)


@dataclass(frozen=True)
class Sparse(Node):
    """A file of `size` bytes that is a hole except for `data`, pairs of offset and bytes."""

    size: int
    data: tuple[tuple[int, bytes], ...] = ()
    mode: int | None = field(default=0o644, kw_only=True)


@dataclass(frozen=True)
class Dir(Node):
    entries: Mapping[Name, Node] = field(default_factory=dict)
    mode: int | None = field(default=0o755, kw_only=True)
    default_acl: str | None = field(default=None, kw_only=True)


# Mapping is invariant in its key type, so the literal {"a": ...} needs a looser name for the callers.
Entries = Mapping[str, Node] | Mapping[bytes, Node] | Mapping[Name, Node]


@dataclass(frozen=True)
class Symlink(Node):
    target: Name


@dataclass(frozen=True)
class HardLink(Node):
    """Another name for the entry at `to`, a path from the root of the tree; it shares its metadata."""

    to: Name


@dataclass(frozen=True)
class Fifo(Node):
    mode: int | None = field(default=0o644, kw_only=True)


@dataclass(frozen=True)
class Socket(Node):
    mode: int | None = field(default=0o755, kw_only=True)


@dataclass(frozen=True)
class Device(Node):
    """A character device, or a block device. Needs root."""

    major: int
    minor: int
    block: bool = False
    mode: int | None = field(default=0o600, kw_only=True)


def build(root: Root, entries: Entries, *, owner: tuple[int, int] | None = None) -> None:
    """Make the tree below root, which is created when missing.

    owner: uid and gid for all entries that name none, root included; needs root.
    Raises FileExistsError for entries that exist: a description is the whole truth about a tree.
    """
    os.makedirs(root, exist_ok=True)
    with _opened(os.fsencode(root)) as fd:
        _create(fd, entries)
        _hard_link(fd, fd, entries)
        _dress_all(fd, entries, owner)
    if owner is not None:
        os.chown(root, *owner)


@contextmanager
def _opened(path: bytes) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield fd
    finally:
        os.close(fd)


def at(fd: int, name: Name) -> bytes:
    """A short path for `name` in the directory open at fd, for calls that take no dir_fd (xattrs)."""
    return b"/proc/self/fd/%d/%s" % (fd, os.fsencode(name))


def _create(fd: int, entries: Entries) -> None:
    for name, node in entries.items():
        path = at(fd, name)
        if isinstance(node, Dir):
            os.mkdir(path, 0o700)
            with _opened(path) as inside:
                _create(inside, node.entries)
        elif isinstance(node, File):
            _write(path, [(0, node.content)], len(node.content))
        elif isinstance(node, Sparse):
            _write(path, node.data, node.size)
        elif isinstance(node, Symlink):
            os.symlink(os.fsencode(node.target), path)
        elif isinstance(node, Fifo):
            os.mkfifo(path)
        elif isinstance(node, Socket):
            # mknod instead of bind: a socket's address holds 108 bytes, a name may have 255.
            os.mknod(path, stat.S_IFSOCK | 0o700)
        elif isinstance(node, Device):
            kind = stat.S_IFBLK if node.block else stat.S_IFCHR
            os.mknod(path, kind | 0o600, os.makedev(node.major, node.minor))
        elif not isinstance(node, HardLink):
            raise TypeError(f"{name!r}: no way to make a {type(node).__name__}")


def _write(path: bytes, pieces: tuple[tuple[int, bytes], ...] | list[tuple[int, bytes]], size: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for offset, data in pieces:
            view = memoryview(data)
            while view:
                done = os.pwrite(fd, view, offset)
                view, offset = view[done:], offset + done
        os.ftruncate(fd, size)
    finally:
        os.close(fd)


def _hard_link(root: int, fd: int, entries: Entries) -> None:
    """Make hard links, after all entries exist, since a link may name an entry of a later directory."""
    for name, node in entries.items():
        if isinstance(node, HardLink):
            os.link(os.fsencode(node.to), os.fsencode(name), src_dir_fd=root, dst_dir_fd=fd, follow_symlinks=False)
        elif isinstance(node, Dir):
            with _opened(at(fd, name)) as inside:
                _hard_link(root, inside, node.entries)


def _dress_all(fd: int, entries: Entries, owner: tuple[int, int] | None) -> None:
    for name, node in entries.items():
        if isinstance(node, Dir):
            with _opened(at(fd, name)) as inside:
                _dress_all(inside, node.entries, owner)
        if not isinstance(node, HardLink):
            _dress(at(fd, name), node, owner)


def _dress(path: bytes, node: Node, owner: tuple[int, int] | None) -> None:
    """Set metadata in the one order that works: chown drops setuid and capabilities, user xattrs need write access."""
    whose = node.owner or owner
    if whose is not None:
        os.chown(path, *whose, follow_symlinks=False)
    for key, value in node.xattrs.items():
        os.setxattr(path, key, value, follow_symlinks=False)
    if node.mode is not None and not isinstance(node, Symlink):
        os.chmod(path, node.mode)
    if node.acl is not None:
        os.setxattr(path, "system.posix_acl_access", encode_acl(node.acl))
    if isinstance(node, Dir) and node.default_acl is not None:
        os.setxattr(path, "system.posix_acl_default", encode_acl(node.default_acl))
    if node.mtime_ns is not None:
        os.utime(path, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)


_ACL_TAGS = {("u", False): 0x01, ("u", True): 0x02, ("g", False): 0x04, ("g", True): 0x08, ("m", False): 0x10,
             ("o", False): 0x20}  # fmt: skip


def encode_acl(text: str) -> bytes:
    """The kernel's form of "u::rw-,u:65534:r--,...", ids as numbers, so that no setfacl is needed."""
    entries = []
    for part in text.split(","):
        kind, who, bits = part.split(":")
        tag = _ACL_TAGS[kind, bool(who)]
        perm = sum(bit for bit, letter in zip((4, 2, 1), bits, strict=True) if letter != "-")
        entries.append((tag, int(who) if who else 0xFFFFFFFF, perm))
    packed = b"".join(struct.pack("<HHI", tag, perm, who) for tag, who, perm in sorted(entries))
    return struct.pack("<I", 2) + packed


def flat(names: int, *, size: int = 4096, per_directory: int = 100) -> dict[str, Node]:
    """`names` files of `size` bytes in directories of `per_directory`: the everyday tree of benchmarks."""
    tree: dict[str, Node] = {}
    for first in range(0, names, per_directory):
        files: dict[Name, Node] = {
            f"file{i:07}": File((b"%d\n" % i * (size // 2 + 1))[:size])
            for i in range(first, min(first + per_directory, names))
        }
        tree[f"dir{first // per_directory:05}"] = Dir(files)
    return tree

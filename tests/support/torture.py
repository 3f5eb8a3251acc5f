"""The torture tree, with all that a file system can hold and that has ever broken a copier."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from tests.support.trees import (
    Device,
    Dir,
    Fifo,
    File,
    HardLink,
    Name,
    Node,
    Root,
    Socket,
    Sparse,
    Symlink,
    build,
    encode_acl,
)

# The directory below the root that leads beyond PATH_MAX: rsync and cp -a cannot go there.
BEYOND_PATH_MAX = "beyond-path-max"
# The sockets, which the tool notes and does not copy.
SOCKETS = ("types/socket",)

ACL = "u::rw-,u:65534:r--,u:1234:rw-,g::r--,g:4321:r-x,m::rwx,o::---"
# cap_net_raw=ep, in the kernel's form: a second xattr that chown drops.
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")

NAMES: tuple[bytes, ...] = (
    b"new\nline", b"trailing newline\n", b"\n", b"carriage\rreturn", b"tab\there",
    b"\x01control\x7f\x1b[31m", b"-leading-dash", b"--version", b"-rf", b"--", b" space at both ends ",
    b" ", b"quote'\"`", b"$'x'\\n", b"$HOME", b"back\\slash", b"\\", b"trailing\\", b"\\#012",
    b"colon:name", b"host::module", b"*?[glob]", b"*", b"{a,b}", b"~", b"#comment", b"semi;colon&pipe|",
    b"!bang", b"...", b"=equals", b"%percent %s", b"@at", b".hidden", b"(x)",
    b"\xff\xfeinvalid \xc3\x28 utf-8", b"\x80", "composed \u00e9".encode(), "decomposed e\u0301".encode(),
    "wide \U0001f980".encode(), b"n" * 255, b"\xfe" * 255, "\u00e9".encode() * 127, b"a.tar.gz~", b"nul",
    b"CON",
)  # fmt: skip

_S = 10**9
TIMES_NS: Mapping[str, int] = {
    "epoch": 0,
    "one-ns": 1,
    "last-ns-of-a-second": 1_600_000_000 * _S + 999_999_999,
    "odd-ns": 1_234_567_890 * _S + 123_456_789,
    "ns-before-1970": -1,
    "pre-1970": -1_000_000_000 * _S + 987_654_321,
    "after-2038": 2**31 * _S + 5,
    "far-future": 7_258_118_400 * _S + 1,  # the year 2200, which ext4, xfs and btrfs can all store
}


def torture(
    root: Root,
    *,
    as_root: bool,
    unreadable: bool | None = None,
    beyond_path_max: bool = True,
    owner: tuple[int, int] | None = None,
) -> frozenset[str]:
    """Build the torture tree at root (missing or empty) and return the abilities that its file system lacks.

    as_root:         with devices, foreign owners, trusted xattrs and capabilities
    unreadable:      with files and directories of mode 000; by default as as_root, since others cannot read them
    beyond_path_max: with a path of more than 4,096 bytes below BEYOND_PATH_MAX
    owner:           uid and gid of all entries that have no foreign ones, to make a tree for another user
    """
    os.makedirs(root, exist_ok=True)
    able = _abilities(root, as_root)
    tree: dict[Name, Node] = {
        "types": _types(as_root),
        "links": _links(as_root),
        "hard": _hard_links(),
        "sparse": _sparse(),
        "modes": _modes(as_root if unreadable is None else unreadable),
        "names": _names(),
        "times": _times(),
        "extras": _extras(able),
        "twin-at-the-top": HardLink("hard/left/three"),
        "file-at-the-top": File(b"top\n", mtime_ns=TIMES_NS["odd-ns"]),
    }
    if as_root:
        tree["owners"] = _owners()
    if beyond_path_max:
        tree[BEYOND_PATH_MAX] = _deep(20)
    # A user's tree has a root with metadata too.
    build(root, tree, owner=owner)
    os.chmod(root, 0o751)
    os.utime(root, ns=(TIMES_NS["odd-ns"], TIMES_NS["odd-ns"]))
    return frozenset(_ABILITIES) - able - (frozenset() if as_root else frozenset(_OF_ROOT))


_OF_ROOT = {"trusted": ("trusted.hpcp", b"x"), "capability": ("security.capability", CAPABILITY)}
_ABILITIES = {"user": ("user.hpcp", b"x"), "acl": ("system.posix_acl_access", encode_acl(ACL)), **_OF_ROOT}


def _abilities(root: Root, as_root: bool) -> frozenset[str]:
    """The kinds of attributes that the file system at root takes, by trying."""
    probe = os.path.join(os.fsencode(root), b".probe")
    with open(probe, "xb"):
        pass
    able = set()
    try:
        for ability, (key, value) in _ABILITIES.items():
            if ability in _OF_ROOT and not as_root:
                continue
            try:
                os.setxattr(probe, key, value)
                able.add(ability)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise
    finally:
        os.unlink(probe)
    return frozenset(able)


def _types(as_root: bool) -> Dir:
    entries: dict[Name, Node] = {
        "file": File(b"content\n" * 1000, mtime_ns=TIMES_NS["odd-ns"]),
        "empty-file": File(b""),
        "one-byte": File(b"x"),
        "empty-directory": Dir(mtime_ns=TIMES_NS["pre-1970"]),
        "nested-empty": Dir({"a": Dir({"b": Dir({"c": Dir()})})}),
        "fifo": Fifo(mode=0o620, mtime_ns=TIMES_NS["odd-ns"]),
        "socket": Socket(),
    }
    if as_root:
        entries["char-device"] = Device(1, 3, mode=0o666, mtime_ns=TIMES_NS["odd-ns"])
        entries["block-device"] = Device(7, 200, block=True, mode=0o640)
    return Dir(entries, mtime_ns=TIMES_NS["last-ns-of-a-second"])


def _links(as_root: bool) -> Dir:
    return Dir({
        "to-file": Symlink("../types/file", mtime_ns=TIMES_NS["odd-ns"]),
        "to-directory": Symlink("../types", mtime_ns=TIMES_NS["pre-1970"]),
        "dangling": Symlink("nowhere/at/all", mtime_ns=TIMES_NS["one-ns"]),
        "looping": Symlink("looping"),
        "loop-a": Symlink("loop-b"),
        "loop-b": Symlink("loop-a"),
        "to-the-parent": Symlink(".."),
        "absolute": Symlink("/etc/hostname"),
        "out-of-the-tree": Symlink("../../../../../../etc/hostname"),
        "long": Symlink("x/" * 2000 + "y"),
        "odd-target": Symlink(b"\xff new\nline "),
        "owned": Symlink("owner", owner=(1234, 4321) if as_root else None, mtime_ns=TIMES_NS["far-future"]),
    })  # fmt: skip


def _hard_links() -> Dir:
    return Dir({
        "left": Dir({"one": File(b"one inode, two names"), "two": HardLink("hard/left/one"),
                     "three": File(b"3" * 70_000)}),
        "right": Dir({"four": HardLink("hard/left/three"), "deep": Dir({"five": HardLink("hard/left/three")}),
                      "empty": File(b""), "empty-twin": HardLink("hard/right/empty")}),
        "link": Symlink("somewhere"),
        "same-link": HardLink("hard/link"),
        "fifo": Fifo(),
        "same-fifo": HardLink("hard/fifo"),
        # Equal in everything, and yet two inodes.
        "not-a-twin": File(b"one inode, two names"),
    })  # fmt: skip


def _sparse() -> Dir:
    mib, block = 1 << 20, b"data" * 1024
    return Dir({
        "hole-begin-middle-end": Sparse(8 * mib, ((mib, block), (3 * mib, block), (6 * mib, block * 2))),
        "hole-begin": Sparse(2 * mib, ((2 * mib - 4096, block),)),
        "hole-end": Sparse(2 * mib, ((0, block),)),
        "only-a-hole": Sparse(3 * mib + 1),
        "unaligned": Sparse(mib + 77, ((500_001, b"here"),)),
        "dense-zeros": File(bytes(mib)),
        "zeros-between": File(b"x" * 65536 + bytes(mib) + b"y" * 65536),
    })  # fmt: skip


def _modes(unreadable: bool) -> Dir:
    inner: dict[Name, Node] = {
        "file": File(b"inside", mode=0o444),
        "sub": Dir({"leaf": File(b"leaf")}, mode=0o555),
    }
    entries: dict[Name, Node] = {
        "setuid": File(b"#!", mode=0o4755),
        "setgid": File(b"#!", mode=0o2755),
        "setuid-not-executable": File(b"", mode=0o4644),
        "sticky-file": File(b"", mode=0o1644),
        "read-only": File(b"r", mode=0o444),
        "all-bits": File(b"", mode=0o7777),
        "sticky-directory": Dir({"f": File(b"f")}, mode=0o1777),
        "setgid-directory": Dir({"f": File(b"f"), "d": Dir()}, mode=0o2770),
        "read-only-directory": Dir(inner, mode=0o555, mtime_ns=TIMES_NS["odd-ns"]),
        "private-directory": Dir({"f": File(b"f", mode=0o600)}, mode=0o700),
    }
    if unreadable:
        entries |= {
            "no-permission-file": File(b"secret", mode=0),
            "no-permission-directory": Dir(inner, mode=0, mtime_ns=TIMES_NS["odd-ns"]),
            "empty-no-permission-directory": Dir(mode=0),
        }
    return Dir(entries)


def _names() -> Dir:
    """Every odd name as a file, a link and a directory with content."""
    return Dir({
        "files": Dir({name: File(b"content of " + name[:20]) for name in NAMES}),
        "links": Dir({name: Symlink(name) for name in NAMES}),
        "directories": Dir({name: Dir({name: File(name)}, mtime_ns=TIMES_NS["odd-ns"]) for name in NAMES}),
    })  # fmt: skip


def _times() -> Dir:
    return Dir({
        "files": Dir({name: File(name.encode(), mtime_ns=ns) for name, ns in TIMES_NS.items()}),
        "links": Dir({name: Symlink(name, mtime_ns=ns) for name, ns in TIMES_NS.items()}),
        "directories": Dir({name: Dir({"f": File(b"f")}, mtime_ns=ns) for name, ns in TIMES_NS.items()}),
    })  # fmt: skip


def _extras(able: frozenset[str]) -> Dir:
    entries: dict[Name, Node] = {"plain": File(b"plain")}
    if "user" in able:
        values = {
            "user.comment": b"text",
            "user.binary": bytes(range(256)),
            "user.empty": b"",
            "user.b": b"v" * 2000,
        }
        entries["user"] = File(b"user", xattrs=values)
        entries["user-directory"] = Dir({"f": File(b"f")}, xattrs={"user.on": b"directory"})
    if "trusted" in able:
        values = {"trusted.hpcp": b"\0\1"}
        entries["trusted"] = File(b"trusted", xattrs=values)
        entries["trusted-directory"] = Dir(xattrs=values)
        entries["trusted-link"] = Symlink("trusted", xattrs=values)
    if "capability" in able:
        entries["capability"] = File(b"#!", mode=0o755, xattrs={"security.capability": CAPABILITY})
    if "acl" in able:
        default = "u::rwx,u:65534:r-x,g::r-x,m::rwx,o::---"
        entries["acl"] = File(b"acl", acl=ACL, mtime_ns=TIMES_NS["odd-ns"])
        # Entries that a copier makes below a default ACL inherit it; these children have none and must get none.
        entries["acl-directory"] = Dir(
            {"plain": File(b"no acl"), "sub": Dir({"f": File(b"f")})},
            acl="u::rwx,u:1234:rwx,g::r-x,m::rwx,o::---",
            default_acl=default,
        )
    return Dir(entries)


def _owners() -> Dir:
    return Dir({
        "foreign": File(b"foreign", owner=(1234, 4321), mode=0o640),
        "foreign-setuid": File(b"#!", owner=(1234, 4321), mode=0o6755),
        "huge-ids": File(b"", owner=(4_000_000_000, 4_000_000_001)),
        "directory": Dir({"f": File(b"f"), "n": File(owner=(65534, 65534))}, owner=(1234, 4321), mode=0o750),
        "fifo": Fifo(owner=(1234, 0)),
    })  # fmt: skip


def _deep(levels: int) -> Dir:
    """`levels` directories of 250 bytes each, a file, a link and an empty directory at the end of them."""
    inside: dict[Name, Node] = {"file": File(b"deep down"), "link": Symlink("file"), "empty": Dir()}
    for level in range(levels):
        inside = {f"{level:03}".ljust(250, "d"): Dir(inside, mtime_ns=TIMES_NS["odd-ns"])}
    return Dir(inside)

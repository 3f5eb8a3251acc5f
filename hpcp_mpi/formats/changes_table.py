r"""The table of differences between two trees, which hpcp 9 reads, and the list of names for tar; on every rank.

    #hpcp-changes\t1
    #op\tpath\told\tnew
    D\tgone/\td:40755:0:0:ef46db3751d8e999\t-
    A\tnew.txt\t-\tf:5:1600000000000000000:100644:0:0:26c7827d889f6da3:ef46db3751d8e999
    M\tlink\tl:old target\tl:new target

`old` is the destination, `new` the source. The rows of deleted entries come first, then those of added and of modified
ones, each sorted by the bytes of the path. A path is relative to the destination and ends in `/` if it is a directory.
An entry that is of another type in the two trees is deleted and added.

A state is `-` where there is nothing, `?` where it is not known, else

    f:size:mtime in ns:mode:uid:gid:hash:attributes    a file; the hash is that of its last bytes, as requested
    d:mode:uid:gid:attributes                          a directory
    l:target                                           a symlink
    p:mode:uid:gid:attributes                          a FIFO; hpcp has no word for it
    s:mode:uid:gid:attributes                          a socket; hpcp has no word for it
    c:mode:uid:gid:major:minor:attributes              a character device, b: a block device; hpcp has no word for them

Modes are octal with the type's bits, hashes are xxh64 in 16 hexadecimal digits. A hash is `-` where none was requested,
and a field `?` where it is not known. In paths and targets `\\`, `\t`, `\n` and `\r` stand for those four characters;
all other bytes are as they are, whether they are UTF-8 or not.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

TITLE = b"#hpcp-changes"
HEADER = TITLE + b"\t1\n#op\tpath\told\tnew\n"
ABSENT = b"-"
UNKNOWN = b"?"

_ESCAPES = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r"}
_SPECIAL = re.compile(rb"[\\\t\n\r]")
_ESCAPE = re.compile(rb"\\(.?)", re.DOTALL)
_MEANING = {escape[1:]: character for character, escape in _ESCAPES.items()}
_SPECIALS = {stat.S_IFIFO: b"p", stat.S_IFSOCK: b"s"}
_DEVICES = {stat.S_IFCHR: b"c", stat.S_IFBLK: b"b"}


class Op(IntEnum):
    """The kind of a difference, in the order of the table."""

    DELETED = 0
    ADDED = 1
    MODIFIED = 2

    @property
    def letter(self) -> bytes:
        return self.name[:1].encode()


_OPS = {op.letter: op for op in Op}


class Row(NamedTuple):
    """One row of the table. Rows sort in the order of the table."""

    op: int  # an Op's value
    path: bytes  # directories end in `/`
    old: bytes  # a state, as it is in the table
    new: bytes

    @property
    def line(self) -> bytes:
        return b"\t".join((Op(self.op).letter, escaped(self.path), self.old, self.new)) + b"\n"


def escaped(name: bytes) -> bytes:
    """Return a name or target as a field of the table."""
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], name) if _SPECIAL.search(name) else name


def unescaped(field: bytes) -> bytes:
    """Return the name or target that a field of the table stands for. Raises ValueError for an unknown escape."""
    if b"\\" not in field:
        return field
    try:
        return _ESCAPE.sub(lambda match: _MEANING[match[1]], field)
    except KeyError:
        raise ValueError("an escape that is unknown") from None


def read_rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """Yield the rows of a table, with the states as they are in it. Raises ValueError; the message names the line."""
    numbered = enumerate(lines, 1)
    _, first = next(numbered, (0, b""))
    title, _, version = first.rstrip(b"\n").partition(b"\t")
    if title != TITLE or not version.isdigit():
        raise ValueError("it is no table of changes")
    if int(version) > 1:
        raise ValueError(f"it is a table of changes of version {int(version)}, and version 1 is the newest known here")
    for number, line in numbered:
        line = line.removesuffix(b"\n")
        if not line or line.startswith(b"#"):
            continue
        fields = line.split(b"\t")
        if len(fields) != 4 or fields[0] not in _OPS:
            raise ValueError(f"line {number} is no row")
        try:
            yield Row(_OPS[fields[0]], unescaped(fields[1]), fields[2], fields[3])
        except ValueError as error:
            raise ValueError(f"line {number} has {error}") from None


def described(status: os.stat_result, digest: int | None, attributes: int, target: bytes = b"") -> bytes:
    """Return the state of an entry as it is in the table.

    digest: the xxh64 of its last bytes; None where none was requested. attributes: theirs. target: a symlink's.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        return b"l:" + escaped(target)
    owner = b"%o:%d:%d" % (status.st_mode, status.st_uid, status.st_gid)
    if kind == stat.S_IFREG:
        content = b"-" if digest is None else b"%016x" % digest
        return b"f:%d:%d:%s:%s:%016x" % (status.st_size, status.st_mtime_ns, owner, content, attributes)
    if kind in _DEVICES:
        device = os.major(status.st_rdev), os.minor(status.st_rdev)
        return b"%s:%s:%d:%d:%016x" % (_DEVICES[kind], owner, *device, attributes)
    return b"%s:%s:%016x" % (_SPECIALS.get(kind, b"d"), owner, attributes)


def tar_name(path: bytes, nul: bool) -> bytes:
    r"""Return a path as an entry of a list for `tar -T`; nul: for `tar --null -T`.

    tar decodes `\\` and `\n` in a list of lines. It takes a line that begins with `-` for an option, and blanks at its
    beginning may be lost: such names begin with `./`.
    """
    if path.startswith(b"-") or path[:1].isspace():
        path = b"./" + path
    if nul:
        return path + b"\0"
    return path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n") + b"\n"

r"""The format of the lines of a file list; on every rank.

    ./                        the root, where names are relative to it
    sub/                      a directory
    sub/a.txt:73b787d70627393f    a file, and the xxh64 of its end, or of all of it; without hashes nothing follows `:`
    sub/link:../a.txt         a symlink, and its target
    sub/pipe:=fifo            a special file, and its kind: `=fifo`, `=socket`, `=char 1,3`, `=block 8,0`

Names and targets are escaped: `\\`, `\n`, `\t`, `\:`, and `\xNN` for what is not printable UTF-8. So a list is text,
and every line means one name, whatever bytes that has. The first character of a target that looks like a hash, or like
`=fifo`, is written as `\xNN`. In a list of names (`-nhfl`) nothing follows a name; with `-0` they are not escaped
either, each ends in NUL, and directories have no `/`: what `find -print0` prints and `tar --null -T` reads.
"""

import re
from enum import Enum
from typing import NamedTuple

from hpcp_mpi.vocab.paths import printable, unescape
from hpcp_mpi.vocab.request import Style


class Type(Enum):
    """The type of an entry, as far as a list shows it."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "symlink"
    OTHER = "special file"
    UNKNOWN = "name"


class Entry(NamedTuple):
    """An entry of a list."""

    name: bytes  # relative, as it was listed; b"" is the root
    type: Type
    value: bytes = b""  # FILE: the hash in hexadecimal digits, or nothing; LINK: its target; OTHER: its kind


_HASH = re.compile(rb"[0-9a-f]{16}|[0-9a-f]{128}")  # of xxh64; of blake2b, which hpcp uses where there is no xxhash
_FIELDS = re.compile(rb"((?:[^\\:]|\\.)*)(?::((?:[^\\:]|\\.)*))?", re.DOTALL)
_KINDS = re.compile(rb"fifo|socket|(?:char|block) [0-9]+,[0-9]+")


def needs_escapes(names: str) -> bool:
    """Return whether any of some names, in one text joined by printable characters, has to be escaped."""
    return not names.isprintable() or "\\" in names or ":" in names


def escaped(name: bytes) -> bytes:
    """Return a name or a target as it is written in a list."""
    return printable(name).replace(":", "\\:").encode()


def written(entry: Entry, style: Style) -> bytes:
    """Return an entry as it is written in a list, without the line end or NUL."""
    if style is Style.NUL:
        return entry.name or b"."
    if entry.type is Type.DIRECTORY:
        return (escaped(entry.name) or b".") + b"/"
    if style is Style.NAMES:
        return escaped(entry.name)
    return escaped(entry.name) + b":" + _value(entry)


def _value(entry: Entry) -> bytes:
    if entry.type is Type.OTHER:
        return b"=" + entry.value
    return link_value(entry.value) if entry.type is Type.LINK else entry.value


def link_value(target: bytes) -> bytes:
    """Return the target of a symlink as it is written after `:`."""
    if _HASH.fullmatch(target) or target.startswith(b"="):
        return b"\\x%02x" % target[0] + escaped(target[1:])
    return escaped(target)


def read(text: bytes, style: Style) -> Entry:
    """Return the entry that a line of a list stands for. Raises ValueError, with a message for the user.

    text: without the line end or NUL. In a list of names a `:` that is not escaped is part of the name.
    """
    if style is Style.NUL:
        return _entry(text, text, None)
    if style is Style.NAMES:
        return _entry(text, _unescaped(text), None)
    if b"\\" not in text:
        name, colon, rest = text.partition(b":")
        value, ambiguous = (rest, b":" in rest) if colon else (None, False)
    else:
        fields = _FIELDS.fullmatch(text)
        name, value = fields.groups() if fields else (text, None)
        ambiguous = fields is None
    if ambiguous:
        _unescaped(text)  # its error is more precise, if it raises one
        raise ValueError("a second `:`; in a name it is written as `\\:`, and lists of names are read with -nhfl or -0")
    return _entry(name, _unescaped(name), value)


def _unescaped(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    name = unescape(text.decode("utf-8", "surrogateescape"))
    if b"\0" in name:
        raise ValueError("a name with a NUL")
    return name


def _entry(text: bytes, name: bytes, value: bytes | None) -> Entry:
    if not name:
        raise ValueError("no name")
    directory = name.endswith(b"/")
    if value is None:
        return Entry(b"" if name in (b".", b"./") else name.rstrip(b"/") or name, _DIRECTORY if directory else _UNKNOWN)
    if directory:
        raise ValueError("a directory with a hash or a target")
    if not value or _HASH.fullmatch(value):
        return Entry(name, Type.FILE, value)
    if value.startswith(b"="):
        if not _KINDS.fullmatch(value, 1):
            raise ValueError(f"unknown kind of file: {printable(value)}")
        return Entry(name, Type.OTHER, value[1:])
    return Entry(name, Type.LINK, _unescaped(value))


_DIRECTORY, _UNKNOWN = Type.DIRECTORY, Type.UNKNOWN


def relative(name: bytes) -> bytes:
    """Return the path below the root that a listed name means. Raises ValueError where it leads out of the root."""
    if name.startswith(b"/"):
        raise ValueError("an absolute name; names are relative to the source")
    if b"/" not in name and name not in (b".", b".."):
        return name
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ValueError("a name with `..`, which may lead out of the source")
    return b"/".join(parts)

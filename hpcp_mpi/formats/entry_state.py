r"""States of entries, as patches have them: parsed from the tables of a patch, and written into them.

Two tables speak of states. The table of changes is hpcp's; its words are those of formats/changes_table.py. What it has
no words for is in a second table, which hpcp does not read:

    d:mode:uid:gid:attributes:mtime          a directory
    l:uid:gid:mtime:attributes:target        a symlink
    p:mode:uid:gid:attributes:mtime          a FIFO, s: a socket
    c:mode:uid:gid:major:minor:attributes:mtime   a character device, b: a block device
    f:size:mtime:mode:uid:gid:hash:attributes     a file, as in the table of changes

The attributes of the first table are those that hpcp carries, those of the second one all that belong to an entry.
"""

import re
import stat
from typing import NamedTuple

from hpcp_mpi.formats.changes_table import escaped, unescaped

FULL = -1  # the hash is that of a whole file
_FULL_MARK = b"F"  # in front of a hash: that of a whole file, whatever the patch says of the others
_TYPES = {
    b"f": stat.S_IFREG,
    b"d": stat.S_IFDIR,
    b"p": stat.S_IFIFO,
    b"s": stat.S_IFSOCK,
    b"c": stat.S_IFCHR,
    b"b": stat.S_IFBLK,
}
LETTERS = {kind: letter for letter, kind in _TYPES.items()} | {stat.S_IFLNK: b"l"}
_NUMBER = re.compile(rb"-?[0-9]{1,20}")
_OCTAL = re.compile(rb"[0-7]{1,7}")
_DIGEST = re.compile(rb"[0-9a-f]{16}|[0-9a-f]{128}")  # hpcp without xxhash takes blake2b


class State(NamedTuple):
    """The state of an entry. None is not known, and not compared."""

    kind: bytes  # f d l p s c b, or - where there is nothing
    mode: int | None = None  # without the type
    uid: int | None = None
    gid: int | None = None
    size: int | None = None  # bytes, of a file
    mtime: int | None = None  # ns
    hashes: tuple[tuple[int, bytes], ...] = ()  # (how many of the last bytes, or FULL; hash)
    portable: bytes | None = None  # digest of the attributes that hpcp carries
    attributes: bytes | None = None  # of all
    target: bytes | None = None  # of a symlink
    device: tuple[int, int] | None = None

    @property
    def there(self) -> bool:
        return self.kind != b"-"

    @property
    def without_hashes(self) -> "State":
        """The state without what is a hash of something."""
        return self._replace(hashes=(), portable=None, attributes=None)

    @property
    def is_directory(self) -> bool:
        return self.kind == b"d"


ABSENT = State(b"-")


def span_of(size: int, tail: int) -> int:
    """Return which hash a file has where the last `tail` bytes are asked for: of a smaller file it is that of all."""
    return FULL if tail == FULL or size <= tail else tail


def plain(state: State) -> bytes | None:
    """Return a state in the words of the table of changes; None where it has none for such an entry."""
    if state.kind == b"-":
        return b"-"
    if state.kind == b"l":
        return b"l:" + escaped(state.target or b"")
    owner = b"%o:%d:%d" % (_TYPES[state.kind] | (state.mode or 0), state.uid or 0, state.gid or 0)
    attributes = state.portable or b"-"
    if state.kind == b"f":
        digest = state.hashes[0][1] if state.hashes else b"-"
        return b"f:%d:%d:%s:%s:%s" % (state.size or 0, state.mtime or 0, owner, digest, attributes)
    return b"d:%s:%s" % (owner, attributes) if state.kind == b"d" else None


def full(state: State) -> bytes:
    """Return a state in the words of the second table."""
    if state.kind == b"-":
        return b"-"
    attributes, mtime = state.attributes or b"-", state.mtime or 0
    if state.kind == b"f":
        return plain(state._replace(portable=state.attributes)) or b""
    if state.kind == b"l":
        owner = b"%d:%d:%d" % (state.uid or 0, state.gid or 0, mtime)
        return b"l:%s:%s:%s" % (owner, attributes, escaped(state.target or b""))
    owner = b"%o:%d:%d" % (_TYPES[state.kind] | (state.mode or 0), state.uid or 0, state.gid or 0)
    device = b"%d:%d:" % state.device if state.device is not None else b""
    return b"%s:%s:%s%s:%d" % (state.kind, owner, device, attributes, mtime)


def parsed_plain(word: bytes, tail: int) -> State:
    """Return what a state of the table of changes means. tail: which bytes it has hashes of. Raises ValueError."""
    if word == b"-":
        return ABSENT
    kind, colon, rest = word.partition(b":")
    if kind == b"l" and colon:
        return State(b"l", target=unescaped(rest))
    fields = rest.split(b":")
    if kind == b"f" and len(fields) == 7:
        return _file(fields, tail)._replace(portable=_digest(fields[6]))
    if kind == b"d" and len(fields) == 4:
        mode, uid, gid = _owner(b"d", fields[:3])
        return State(b"d", mode, uid, gid, portable=_digest(fields[3]))
    raise ValueError("a state that is unknown")


def parsed_full(word: bytes, tail: int) -> State:
    """Return what a state of the second table means. tail: which bytes it has hashes of. Raises ValueError."""
    if word == b"-":
        return ABSENT
    kind, _, rest = word.partition(b":")
    if kind == b"l":
        fields = rest.split(b":", 4)
        if len(fields) != 5:
            raise ValueError("a symlink's state with a field too few")
        uid, gid, mtime = map(_number, fields[:3])
        return State(b"l", None, uid, gid, None, mtime, (), None, _digest(fields[3]), unescaped(fields[4]))
    fields = rest.split(b":")
    if kind == b"f" and len(fields) == 7:
        return _file(fields, tail)._replace(attributes=_digest(fields[6]))
    if (kind in (b"c", b"b") and len(fields) == 7) or (kind in (b"d", b"p", b"s") and len(fields) == 5):
        mode, uid, gid = _owner(kind, fields[:3])
        device = (_number(fields[3]), _number(fields[4])) if kind in (b"c", b"b") else None
        return State(kind, mode, uid, gid, None, _number(fields[-1]), (), None, _digest(fields[-2]), None, device)
    raise ValueError("a state that is unknown")


def _file(fields: list[bytes], tail: int) -> State:
    size, mtime = _number(fields[0]), _number(fields[1])
    if size < 0:
        raise ValueError("a size below 0")
    mode, uid, gid = _owner(b"f", fields[2:5])
    digest = fields[5]
    hashes: tuple[tuple[int, bytes], ...] = ()
    if digest.startswith(_FULL_MARK):
        digest, tail = digest[1:], FULL
    if digest not in (b"", b"-"):
        if not _DIGEST.fullmatch(digest):
            raise ValueError("a hash that is none")
        hashes = ((span_of(size, tail), digest),)
    return State(b"f", mode, uid, gid, size, mtime, hashes)


def _owner(kind: bytes, fields: list[bytes]) -> tuple[int, int, int]:
    if not _OCTAL.fullmatch(fields[0]):
        raise ValueError("a mode that is none")
    mode, uid, gid = int(fields[0], 8), _number(fields[1]), _number(fields[2])
    if stat.S_IFMT(mode) != _TYPES[kind] or not 0 <= uid < 2**32 or not 0 <= gid < 2**32:
        raise ValueError("a mode or an owner that does not go with the entry")
    return stat.S_IMODE(mode), uid, gid


def _number(field: bytes) -> int:
    if not _NUMBER.fullmatch(field):
        raise ValueError("a number that is none")
    return int(field)


def _digest(field: bytes) -> bytes | None:
    if field == b"-":
        return None
    if not _DIGEST.fullmatch(field):
        raise ValueError("a digest of attributes that is none")
    return field

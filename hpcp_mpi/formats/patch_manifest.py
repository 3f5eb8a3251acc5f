r"""The manifest of a patch, which says what the patch is: one `key TAB value` a line. hpcp 9 reads and writes it too.

    format	hpcp-diff
    format_version	1
    patch_id	0c9d6d1f...
    volume	1/1
    ...
    section	root	.	changes.tsv

`\\`, `\t`, `\n` and `\r` in values stand for those four characters. Keys that are unknown here are left alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hpcp_mpi.formats.changes_table import escaped, unescaped
from hpcp_mpi.formats.entry_state import FULL

PLACE = b".hpcp_diff"  # the directory in the patch's root that holds what is no payload
MANIFEST, CHANGES, MORE = b"manifest", b"changes.tsv", b"hpcp-mpi.tsv"
HASH = "xxh64"
_FORMAT = b"hpcp-diff"
_ANY_SIZE = 1 << 24
_NEWEST = 3  # 2 is for disks, 3 has some hashes of whole files among others
_ID = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
_VOLUME = re.compile(rb"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")
_ROOT = (b"root", b".", CHANGES)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a patch says of itself."""

    patch_id: bytes
    new: bytes  # what it leads to, for people
    base: bytes  # what it is for, for people
    created: str = ""  # ISO 8601, UTC
    layout: str = "root"  # root, store: paths begin at `/`
    volume: tuple[int, int] = (1, 1)  # number, of how many
    hash_algo: str = HASH
    tail: int = FULL  # how many of the last bytes hashes are of; 0: none
    added: int = 0
    modified: int = 0
    deleted: int = 0
    payload_bytes: int = 0
    program: str = ""  # that wrote it

    @property
    def hashes(self) -> bool:
        """Whether its hashes and digests can be compared here."""
        return self.hash_algo == HASH


def written(manifest: Manifest) -> bytes:
    """Return the text of a manifest."""
    full_hash = manifest.tail == FULL
    values: dict[str, bytes | str | int] = {
        "format": _FORMAT,
        "format_version": 1,
        "patch_id": manifest.patch_id,
        "volume": "/".join(map(str, manifest.volume)),
        "created": manifest.created,
        "hpcp_version": manifest.program,
        "new": manifest.new,
        "base": manifest.base,
        "hash_algo": manifest.hash_algo,
        "hash_size": _ANY_SIZE if full_hash else manifest.tail,  # hpcp hashes nothing where it is 0
        "full_hash": int(full_hash),
        "xattrs": 1,
        "layout": manifest.layout,
        "added": manifest.added,
        "modified": manifest.modified,
        "deleted": manifest.deleted,
        "payload_bytes": manifest.payload_bytes,
    }
    lines = [key.encode() + b"\t" + escaped(_bytes(value)) for key, value in values.items()]
    return b"\n".join([*lines, b"section\t" + b"\t".join(_ROOT), b""])


def _bytes(value: bytes | str | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def read(text: bytes) -> Manifest:
    """Return what a manifest says. Raises ValueError, with what is wrong; of a disk's patch NotImplementedError."""
    values, sections = _values(text)
    if values.get(b"format") != _FORMAT:
        raise ValueError("it is no manifest of a patch")
    version = _number(values, b"format_version")
    if version > _NEWEST:
        raise ValueError(f"it is of version {version}, and version {_NEWEST} is the newest known here")
    if values.get(b"layout") == b"disk" or version == 2:
        raise NotImplementedError("it is a patch of a whole disk")
    if sections != [_ROOT]:
        raise ValueError("it has other sections than one of the root")
    volume = _VOLUME.fullmatch(values.get(b"volume", b""))
    if not volume or int(volume[1]) > int(volume[2]):
        raise ValueError("it does not say which volume this is")
    if not _ID.fullmatch(values.get(b"patch_id", b"")):
        raise ValueError("it does not say which patch this is")
    return Manifest(
        values[b"patch_id"],
        values.get(b"new", b""),
        values.get(b"base", b""),
        _text(values, b"created"),
        _text(values, b"layout") or "root",
        (int(volume[1]), int(volume[2])),
        _text(values, b"hash_algo"),
        FULL if values.get(b"full_hash") == b"1" else _number(values, b"hash_size"),
        program=_text(values, b"hpcp_version"),
    )


def _values(text: bytes) -> tuple[Mapping[bytes, bytes], list[tuple[bytes, ...]]]:
    values: dict[bytes, bytes] = {}
    sections = []
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line or line.startswith(b"#"):
            continue
        key, *fields = map(unescaped, line.split(b"\t"))
        if key == b"section" and len(fields) == 3:
            sections.append(tuple(fields))
        elif key == b"raw":
            raise NotImplementedError("it is a patch of a whole disk")
        elif key == b"section" or len(fields) != 1 or key in values:
            raise ValueError(f"line {number} has no meaning")
        else:
            values[key] = fields[0]
    return values, sections


def _number(values: Mapping[bytes, bytes], key: bytes) -> int:
    value = values.get(key, b"")
    if not value.isdigit() or len(value) > 18:
        raise ValueError(f"{key.decode()} is no number")
    return int(value)


def _text(values: Mapping[bytes, bytes], key: bytes) -> str:
    return values.get(key, b"").decode("utf-8", "replace")

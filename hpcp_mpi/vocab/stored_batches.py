"""Batches as JSON, for files that outlive a run: nothing read from them can become code, and all of it is checked."""

import json
import zlib
from collections.abc import Iterable
from dataclasses import astuple
from typing import Any

from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, BigFile, Kind, Units

_CODE = "latin-1"  # each byte is a character
# Not `ours`: whose a directory is may change until another run resumes.
_FLAGS = ("over", "restore", "new", "above", "equal", "again", "lossy")


def packed(batches: Iterable[Batch]) -> bytes:
    """Return batches as bytes. Names compress to a fifth."""
    return zlib.compress(json.dumps([_plain(batch) for batch in batches], separators=(",", ":")).encode(), 1)


def unpacked(data: bytes) -> list[Batch]:
    """Return the batches of packed(). Raises ValueError if that did not make data."""
    try:
        return [_batch(*each) for each in json.loads(zlib.decompress(data))]
    except (zlib.error, TypeError, UnicodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _plain(batch: Batch) -> list[Any]:
    flags = sum(getattr(batch, name) << bit for bit, name in enumerate(_FLAGS))
    paths = [each.decode(_CODE) for each in (batch.source_dir, batch.dest_dir)]
    big = batch.big
    return [
        batch.kind.value,
        batch.source,
        *paths,
        flags,
        _plain_units(batch.units),
        None if big is None else _texts(big),
    ]


def _plain_units(units: Units) -> list[Any]:
    more = None
    if units.more is not None:
        more = [[*tally, None if name is None else name.decode(_CODE)] for tally, name in units.more]
    return [len(units), b"\0".join(units.names).decode(_CODE), units.amounts, more, units.most]


def _texts(big: BigFile) -> list[Any]:
    return [each.decode(_CODE) if isinstance(each, bytes) else each for each in astuple(big)]


def _batch(kind: str, source: int, source_dir: str, dest_dir: str, flags: int, units: list[Any], big: Any) -> Batch:
    given: dict[str, Any] = {name: bool(_number(flags) >> bit & 1) for bit, name in enumerate(_FLAGS)}
    return Batch(
        Kind(kind),
        _number(source),
        _path(source_dir),
        _path(dest_dir),
        _units(*units),
        big=None if big is None else _big(*big),
        **given,
    )


def _units(count: int, joined: str, amounts: list[int], more: list[list[Any]] | None, most: int | None) -> Units:
    names = [_below_root(name) for name in _bytes(joined).split(b"\0")] if count else []
    if not len(names) == len(amounts) == count or (more is not None and len(more) != count):
        raise ValueError("not as many names as numbers")
    rows = None if more is None else [_row(*row) for row in more]
    return Units(names, list(map(_number, amounts)), rows, None if most is None else _number(most))


def _row(
    files: int, directories: int, links: int, specials: int, size: int, dest_name: str | None
) -> tuple[Tally, bytes | None]:
    tally = Tally(*map(_number, (files, directories, links, specials, size)))
    return tally, None if dest_name is None else _path(dest_name)


def _big(
    name: str,
    target: str,
    size: int,
    stage: str,
    identity: list[int],
    read_ns: int,
    spoilt: str,
    vanished: bool,
    data: int,
) -> BigFile:
    if not isinstance(spoilt, str) or not isinstance(vanished, bool):
        raise ValueError("not a big file")
    numbers = tuple(map(_number, identity))
    named = _path(name), _path(target), _number(size), _path(stage)
    return BigFile(*named, numbers, _number(read_ns), spoilt, vanished, _number(data))


def _number(given: Any) -> int:
    if type(given) is not int:
        raise ValueError(f"not a number: {given!r:.40}")
    return given


def _bytes(given: Any) -> bytes:
    if not isinstance(given, str):
        raise ValueError(f"not a name: {given!r:.40}")
    return given.encode(_CODE)


def _path(given: Any) -> bytes:
    return _below_root(_bytes(given))


def _below_root(path: bytes) -> bytes:
    """Return a path of which no part leads out of its root."""
    if path.startswith(b"/") or b"\0" in path or not {b"..", b"."}.isdisjoint(path.split(b"/")):
        raise ValueError(f"not a path below a root: {path!r:.40}")
    return path

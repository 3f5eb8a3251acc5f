r"""Rows of a patch: what both of its tables say of each entry.

The first table is the one of changes, which hpcp 9 reads. The second one, hpcp-mpi.tsv, has what it has no words for:

    #hpcp-mpi-changes	1
    M	dir/	d:755:0:0:ef46db3751d8e999:1600000000000000000	d:755:0:0:ef46db3751d8e999:1700000000000000000
    H	first name	other name

States are those of formats/entry_state.py. A row takes the place of the one with the same kind and path in the table of
changes. H: the two are names of one file in the new tree. Names with rows and without that are of two.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hpcp_mpi.formats.changes_table import HEADER, Op, escaped, read_rows, unescaped
from hpcp_mpi.formats.changes_table import Row as TableRow
from hpcp_mpi.formats.entry_state import ABSENT, State, full, parsed_full, parsed_plain, plain
from hpcp_mpi.vocab.paths import printable

_TITLE = b"#hpcp-mpi-changes"
_MORE_HEADER = _TITLE + b"\t1\n#op\tpath\told\tnew\n"
_LINK = b"H"
_OPS = {op.letter: op for op in Op}


Pair = tuple[bytes, bytes]


class Row(NamedTuple):
    """One row of a patch: an entry, and its state before and after."""

    op: Op
    path: bytes  # without a `/` at its end; b"" is the root
    old: State
    new: State

    @property
    def shown(self) -> bytes:
        """The path as it is in tables."""
        directory = (self.new if self.new.there else self.old).is_directory
        return (self.path or b".") + b"/" if directory else self.path


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a patch, and pairs of names that are one file in the new tree; None: nobody knows."""

    rows: tuple[Row, ...]
    linked: tuple[Pair, ...] | None = None


def table(rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield the lines of the table of changes: those rows that it has words for, and that differ in them."""
    yield HEADER
    for row in sorted(rows, key=lambda row: (row.op, row.shown)):
        old, new = plain(row.old), plain(row.new)
        if old is not None and new is not None and old != new:
            yield TableRow(row.op, row.shown, old, new).line


def more(told: Rows) -> Iterator[bytes]:
    """Yield the lines of the second table: what the first one does not say."""
    yield _MORE_HEADER
    for row in sorted(told.rows, key=lambda row: (row.op, row.shown)):
        if any(map(_says_less, (row.old, row.new))) or plain(row.old) == plain(row.new):
            yield b"\t".join((row.op.letter, escaped(row.shown), full(row.old), full(row.new))) + b"\n"
    for first, other in told.linked or ():
        yield b"\t".join((_LINK, escaped(first), escaped(other))) + b"\n"


def _says_less(state: State) -> bool:
    """Return whether the table of changes does not say all of a state."""
    return state.there and (state.kind != b"f" or state.portable != state.attributes)


def read(changes: Iterable[bytes], others: Iterable[bytes] | None, tail: int) -> Rows:
    """Return the rows of both tables; others: the second one, None where there is none.

    tail: which bytes the hashes are of. Raises ValueError, with what is wrong.
    """
    rows: dict[tuple[Op, bytes], Row] = {}
    for each in read_rows(changes):
        _add(rows, each, parsed_plain, tail)
    linked: list[Pair] = []
    if others is not None:
        second: dict[tuple[Op, bytes], Row] = {}
        numbered = enumerate(others, 1)
        if next(numbered, (0, b""))[1].rstrip(b"\n") != _TITLE + b"\t1":
            raise ValueError("its second table is none, or of a newer version")
        for number, line in numbered:
            fields = line.removesuffix(b"\n").split(b"\t")
            if line.startswith(b"#"):
                continue
            if len(fields) == 3 and fields[0] == _LINK:
                linked.append((unescaped(fields[1]), unescaped(fields[2])))
            elif len(fields) == 4 and fields[0] in _OPS:
                row = TableRow(_OPS[fields[0]], unescaped(fields[1]), fields[2], fields[3])
                _add(second, row, parsed_full, tail)
            else:
                raise ValueError(f"line {number} of its second table is no row")
        rows |= second
    return Rows(tuple(rows.values()), None if others is None else tuple(linked))


def _add(rows: dict[tuple[Op, bytes], Row], given: TableRow, parsed: Callable[[bytes, int], State], tail: int) -> None:
    path = given.path.removesuffix(b"/")
    op = Op(given.op)
    try:
        row = Row(op, b"" if given.path == b"./" else path, parsed(given.old, tail), parsed(given.new, tail))
    except ValueError as error:
        raise ValueError(f"the row of {printable(given.path)} has {error}") from None
    states = {Op.DELETED: (True, False), Op.ADDED: (False, True), Op.MODIFIED: (True, True)}[op]
    same_kind = op is not Op.MODIFIED or row.old.kind == row.new.kind
    if (row.old != ABSENT, row.new != ABSENT) != states or row.shown != given.path or not same_kind:
        raise ValueError(f"the row of {printable(given.path)} contradicts itself")
    if rows.setdefault((op, row.path), row) is not row:
        raise ValueError(f"it has two rows of {printable(given.path)}")

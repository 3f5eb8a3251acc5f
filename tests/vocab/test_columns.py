"""Records of a ledger, numbers and names in columns, come back as they were, and other bytes are refused."""

from __future__ import annotations

import marshal
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.vocab.columns import packed, unpacked

U64 = st.integers(0, 2**64 - 1)
FIELDS = {
    "i": st.integers(-(2**63), 2**63 - 1),
    "u": U64,
    "b": st.booleans(),
    "n": st.binary(max_size=20).map(lambda name: name.replace(b"\0", b"/")),
    "p": st.tuples(U64, U64),
}
LAYOUTS = st.text("iubnp", min_size=1, max_size=6)


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[tuple[object, ...]]]:
    layout = draw(LAYOUTS)
    return layout, draw(st.lists(st.tuples(*(FIELDS[kind] for kind in layout)), max_size=8))


@given(tables())
def test_records_come_back_as_they_were(table: tuple[str, list[tuple[object, ...]]]) -> None:
    layout, records = table
    assert unpacked(layout, packed(layout, records)) == records


@given(LAYOUTS, st.binary(max_size=100))
def test_what_was_not_packed_is_a_value_error_or_records_of_that_layout(layout: str, data: bytes) -> None:
    try:
        records = unpacked(layout, data)
    except ValueError:
        return
    assert packed(layout, records) == data


@given(tables(), st.data())
def test_a_block_that_was_cut_off_is_a_value_error(
    table: tuple[str, list[tuple[object, ...]]], data: st.DataObject
) -> None:
    block = packed(*table)
    with pytest.raises(ValueError):
        unpacked(table[0], block[: data.draw(st.integers(0, len(block) - 1))])


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("it was run",))


@pytest.mark.parametrize("block", [pickle.dumps([Harmful()]), marshal.dumps([(1, b"x")])], ids=["pickle", "marshal"])
def test_a_pickle_is_not_run(block: bytes) -> None:
    with pytest.raises(ValueError):
        unpacked("in", block)

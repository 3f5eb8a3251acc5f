"""Batches in a ledger come back as they were; one that leads out of a root, or is no batch, is refused."""

from __future__ import annotations

import json
import pickle
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.vocab.stored_batches import packed, unpacked
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, BigFile, Kind, Unit, Units

NAMES = (
    st.binary(min_size=1, max_size=12)
    .map(lambda name: name.replace(b"\0", b"\xff").replace(b"/", b"\n"))
    .filter(lambda name: name not in (b".", b".."))
)
PATHS = st.lists(NAMES, max_size=3).map(b"/".join)
SIZES = st.integers(0, 2**63 - 1)
PLAIN = st.lists(st.tuples(NAMES, SIZES), max_size=4).map(
    lambda some: Units([n for n, _ in some], [s for _, s in some])
)
UNIT = st.builds(Unit, NAMES, st.builds(Tally, *[SIZES] * 5), SIZES, st.none() | NAMES)
UNITS = PLAIN | st.lists(UNIT, max_size=4).map(Units.of)
BIG = st.builds(
    BigFile, NAMES, NAMES, SIZES, NAMES, st.tuples(*[SIZES] * 4), st.integers(-(2**62), 2**62), st.text(max_size=9)
)
BATCHES = st.builds(
    Batch,
    st.sampled_from(Kind),
    st.integers(-1, 5),
    PATHS,
    PATHS,
    UNITS,
    over=st.booleans(),
    again=st.booleans(),
    lossy=st.booleans(),
    big=st.none() | BIG,
)
ONE = Batch(Kind.VERIFY, 0, b"a", b"b", Units([b"name"], [7]))


@given(st.lists(BATCHES, max_size=3))
def test_batches_come_back_as_they_were(batches: list[Batch]) -> None:
    found = unpacked(packed(batches))
    assert found == batches
    assert [batch.amount for batch in found] == [batch.amount for batch in batches]


def test_what_was_ours_when_it_was_stored_need_not_be_so_when_it_is_read() -> None:
    assert unpacked(packed([replace(ONE, ours=True)])) == [ONE]


@pytest.mark.parametrize("path", [b"/etc", b"..", b"a/../../b", b"a/.", b"a\0b"])
@pytest.mark.parametrize("field", ["source_dir", "dest_dir"])
def test_a_path_that_leads_out_of_its_root_is_refused(path: bytes, field: str) -> None:
    with pytest.raises(ValueError, match="not a path below a root"):
        unpacked(packed([replace(ONE, **{field: path})]))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [b"..", b"/etc/passwd", b"a/../../b"])
def test_a_name_that_leads_out_of_its_root_is_refused(name: bytes) -> None:
    for units in (Units([name], [1]), Units.of([Unit(b"x", dest_name=name)])):
        with pytest.raises(ValueError, match="not a path below a root"):
            unpacked(packed([replace(ONE, units=units)]))
    big = BigFile(name, b"t", 1, b"s", (1, 2, 3, 4))
    with pytest.raises(ValueError, match="not a path below a root"):
        unpacked(packed([replace(ONE, big=big)]))


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("it was run",))


def of(document: Any) -> bytes:
    return zlib.compress(json.dumps(document).encode())


PLAIN_ONE = json.loads(zlib.decompress(packed([ONE])))[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pickle.dumps([Harmful()]),
        zlib.compress(pickle.dumps([Harmful()])),
        of(7),
        of([7]),
        of([["verify"]]),
        of([["no such kind", *PLAIN_ONE[1:]]]),
        of([[PLAIN_ONE[0], "0", *PLAIN_ONE[2:]]]),
        of([[PLAIN_ONE[0], True, *PLAIN_ONE[2:]]]),
        of([[*PLAIN_ONE[:6], [2, "name", [7], None, None], None]]),
        of([[*PLAIN_ONE[:6], [1, "name", ["7"], None, None], None]]),
        of([[*PLAIN_ONE[:6], [1, "na\u0100me", [7], None, None], None]]),
        of([[*PLAIN_ONE[:6], [1, "name", [7], [[1, 2, None]], None], None]]),
        of([[*PLAIN_ONE[:7], ["name", "t", 1, "s", "1234", 0, "", False]]]),
        packed([ONE])[:-3],
    ],
)
def test_what_is_no_batch_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        unpacked(data)

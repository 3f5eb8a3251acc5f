"""Tables as text: what is read from sfdisk and written for it is the same, whatever the names."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.host.block import table_text
from hpcp_mpi.vocab.image_options import Partition, Table
from tests.support.effort import many

SIZE = 64 << 20
GUID = st.uuids(version=4).map(lambda each: str(each).upper())
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0", max_codepoint=0xFFFF), max_size=36
).filter(lambda name: len(name.encode("utf-16-le")) <= 72)
BITS = st.sets(st.integers(48, 63)).map(lambda bits: f"GUID:{','.join(map(str, sorted(bits)))}" if bits else "")
WORDS = st.sets(st.sampled_from(["RequiredPartition", "NoBlockIOProtocol", "LegacyBIOSBootable"])).map(
    lambda words: [w for w in ("RequiredPartition", "NoBlockIOProtocol", "LegacyBIOSBootable") if w in words]
)
ATTRIBUTES = st.tuples(WORDS, BITS).map(lambda both: " ".join([*both[0], both[1]]).strip())


@st.composite
def tables(draw: st.DrawFn) -> Table:
    count = draw(st.integers(1, 6))
    numbers = draw(st.permutations(range(1, 129)))[:count]
    edges = sorted(draw(st.sets(st.integers(34, 130_000), min_size=2 * count, max_size=2 * count)))
    partitions = [
        Partition(number, start, end - start, draw(GUID), draw(GUID), draw(NAMES), draw(ATTRIBUTES))
        for number, start, end in zip(numbers, edges[::2], edges[1::2], strict=True)
    ]
    partitions.sort(key=lambda each: each.number)
    return Table("gpt", draw(GUID), 512, tuple(partitions), 34, 131038)


def by_sfdisk(path: Path, table: Table) -> Table:
    with open(path, "wb") as file:
        file.truncate(SIZE)
    subprocess.run(["sfdisk", "--quiet", path], input=table_text.script(table), check=True)
    return table_text.parse(subprocess.check_output(["sfdisk", "--json", path]))


@settings(max_examples=many(24), deadline=None)
@given(table=tables())
def test_any_gpt_is_the_same_after_a_round_trip_through_sfdisk(
    tmp_path_factory: pytest.TempPathFactory, table: Table
) -> None:
    path = tmp_path_factory.getbasetemp() / "table.img"
    path.unlink(missing_ok=True)
    assert by_sfdisk(path, table) == table


def test_an_mbr_is_the_same_after_a_round_trip(tmp_path: Path) -> None:
    partitions = (
        Partition(1, 63, 2000, "7", bootable=True),
        Partition(2, 4096, 100_000, "f"),
        Partition(4, 2063, 1000, "c"),
        Partition(5, 6144, 2048, "83"),
        Partition(6, 10240, 20480, "8e"),
    )
    table = Table("dos", "0xdeadbeef", 512, partitions)
    assert by_sfdisk(tmp_path / "a.img", table) == table


def test_a_name_cannot_add_a_field_or_a_line() -> None:
    name = 'a", size=1\n2 : start=1'
    text = table_text.script(Table("gpt", "X", 512, (Partition(1, 2048, 8, "T", name=name),))).decode()
    assert text.count("\n") == 5
    assert text.count('"') == 2


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"partitiontable": 1}', b"\xff", b'{"partitiontable": {}}'])
def test_what_is_no_table_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        table_text.parse(text)

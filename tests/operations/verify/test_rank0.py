"""Who verifies what of whom: groups of ranks, and what is recorded of what they wrote."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.operations.verify.rank0 import Recorder, groups
from hpcp_mpi.operations.verify.records import Written, WrittenUnit, gathered
from hpcp_mpi.vocab.stored_batches import unpacked
from hpcp_mpi.vocab.tally import ONE_LINK, Tally, one_file
from hpcp_mpi.vocab.units import Batch, BigFile, Kind, Unit, Units, ranges

MIB = 1 << 20


@given(st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=60), st.integers(2, 10))
def test_every_rank_is_in_one_group_with_all_of_its_node(nodes: list[str], most: int) -> None:
    ranks = list(enumerate(nodes, 1))
    found = groups(ranks, most)
    assert sorted(rank for group in found for rank in group) == [rank for rank, _ in ranks]
    assert all(found) and len(found) == min(most, len(set(nodes)) if len(set(nodes)) > 1 else len(nodes))
    if len(set(nodes)) > 1:
        for group in found:
            others = {nodes[rank - 1] for rank, _ in ranks if rank not in group}
            assert not others & {nodes[rank - 1] for rank in group}


def plain(names: list[bytes]) -> Batch:
    return Batch(Kind.COPY, 3, b"from", b"to", Units(names, [5] * len(names)))


def test_what_landed_travels_together_and_keeps_its_columns() -> None:
    batch = plain([b"a", b"b", b"c"])
    other = Batch(
        Kind.COPY, 0, b"", b"", Units.of([Unit(b"dir", Tally(2, 1, 0, 0, 9), 9, b"as"), Unit(b"l", ONE_LINK)])
    )
    units, (tree, link) = list(batch.units), list(other.units)
    landed = [
        WrittenUnit(batch, units[0]),
        WrittenUnit(batch, units[2]),
        WrittenUnit(other, tree, True),
        WrittenUnit(other, link),
    ]
    news = gathered(["news", *landed], 7)
    assert news[0] == "news" and len(news) == 2
    written = news[1]
    assert isinstance(written, Written) and (written.rank, written.big) == (7, ())
    first, lossy, last = unpacked(written.batches)
    assert all(each.kind is Kind.VERIFY for each in (first, lossy, last))
    assert (first.source, first.source_dir, first.dest_dir) == (3, b"from", b"to")
    assert first.units.plain and first.units.names == [b"a", b"c"] and not first.lossy
    assert lossy.lossy and list(lossy.units) == [tree]
    assert not last.lossy and list(last.units) == [link]


def test_without_landings_news_stay_as_they_are() -> None:
    assert gathered(["news"], 1) == ["news"]


def big(kind: Kind, size: int, units: Units) -> Batch:
    return Batch(kind, 0, b"", b"", units, big=BigFile(b"big", b"big", size, b"stage", ()))


def finish(size: int, kind: Kind = Kind.FINISH_FILE) -> Batch:
    return big(kind, size, Units.of([Unit(b"big", one_file(size))]))


def recorded(recorder: Recorder) -> dict[int, list[Batch]]:
    journal = recorder.journal
    return {rank: [batch for block in journal.blocks(rank) for batch in unpacked(block)] for rank in journal.owners}


def test_ranges_are_verified_as_each_rank_wrote_them_when_the_file_has_its_name() -> None:
    recorder = Recorder(4 * MIB)
    parts = ranges(12 * MIB, 4 * MIB)
    recorder.add(Written(1, b"", (big(Kind.RANGE, 12 * MIB, parts[:2]),)))
    recorder.add(Written(2, b"", (big(Kind.RANGE, 12 * MIB, parts[2:]),)))
    assert not recorder.journal, "it may still fail"
    recorder.add(Written(3, b"", (finish(12 * MIB),)))
    found = recorded(recorder)
    assert {rank: [each.units.names for each in some] for rank, some in found.items()} == {
        1: [[b"0", b"%d" % (4 * MIB)]],
        2: [[b"%d" % (8 * MIB)]],
    }
    assert all(each.big is not None and each.kind is Kind.VERIFY for some in found.values() for each in some)


def test_a_file_that_shares_all_blocks_is_verified_in_ranges_too() -> None:
    recorder = Recorder(4 * MIB)
    recorder.add(Written(5, b"", (finish(9 * MIB, Kind.START_FILE),)))
    ((batch,),) = recorded(recorder).values()
    assert batch.units.names == [b"0", b"%d" % (4 * MIB), b"%d" % (8 * MIB)] and batch.amount == 9 * MIB


def test_an_empty_file_is_verified_as_any_other() -> None:
    recorder = Recorder(4 * MIB)
    recorder.add(Written(5, b"", (finish(0),)))
    ((batch,),) = recorded(recorder).values()
    assert batch.big is None and batch.units.names == [b"big"]

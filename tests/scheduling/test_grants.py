"""Records of granted chunks: enough to do one again, and only what is outstanding where it must be done once."""

from __future__ import annotations

import pickle
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.scheduling.grants import GrantRecord, requeue, stage_dirs
from hpcp_mpi.vocab.checkpoint import Relist
from hpcp_mpi.vocab.tally import NOTHING, Tally, one_file
from hpcp_mpi.vocab.units import Batch, BigFile, Kind, Unit, Units, link_unit

FILE, TREE = one_file(10), Tally(3, 1, 0, 0, 30)


def batch(kind: Kind, names: str, directory: bytes = b"d", trees: str = "", big: BigFile | None = None) -> Batch:
    units = [Unit(name.encode(), TREE if name in trees else FILE, 10) for name in names]
    return Batch(kind, 0, directory, b"to/" + directory, Units.of(units), big=big)


def names(batches: list[Batch]) -> list[str]:
    return [unit.name.decode() for each in batches for unit in each.units]


def looked_at(batches: list[Batch], whole: bool = False) -> set[tuple[bytes, bool]]:
    return {(each.source_dir, each.recursive) for each in requeue(batches, whole)[1]}


def test_of_content_only_its_directory_is_remembered_and_subtrees_by_name() -> None:
    kept = GrantRecord([batch(Kind.COPY, "abcT", trees="T")], whole=False)
    assert names(kept.batches) == ["T"]
    granted, todo = requeue(kept.batches, whole=False)
    assert granted == []
    assert todo == [Relist(0, b"d/T", b"to/d/T", True), Relist(0, b"d", b"to/d", False)]


def test_plain_units_are_told_apart_by_their_number_alone() -> None:
    plain = Batch(Kind.CHECK, 0, b"d", b"to/d", Units([b"a", b"b", b"c"], [1, 2, 3]))
    kept = GrantRecord([plain], whole=False)
    kept.drop([plain.split(2)[0]])
    assert looked_at(kept.batches) == {(b"d", False)}
    kept.drop([plain.split(2)[1]])
    assert kept.batches == []


def test_two_batches_of_one_directory_are_forgotten_only_together() -> None:
    """It is unknown from which of the two a unit was: in doubt its directory is listed again."""
    one, other = batch(Kind.COPY, "abc"), batch(Kind.COPY, "def")
    kept = GrantRecord([one, other], whole=False)
    for part in (batch(Kind.COPY, "de"), batch(Kind.COPY, "ab"), batch(Kind.COPY, "f")):
        kept.drop([part])
        assert looked_at(kept.batches) == {(b"d", False)}
    kept.drop([batch(Kind.COPY, "c")])
    assert kept.batches == []


def test_a_subtree_that_is_out_is_remembered_when_the_files_beside_it_are_done() -> None:
    kept = GrantRecord([batch(Kind.COPY, "aTbU", trees="TU"), batch(Kind.COPY, "x", b"other")], whole=False)
    kept.drop([batch(Kind.COPY, "aT", trees="T")])
    kept.drop([batch(Kind.COPY, "b"), batch(Kind.COPY, "x", b"other")])
    assert looked_at(kept.batches) == {(b"d/U", True), (b"d", False)}
    kept.drop([batch(Kind.COPY, "U", trees="U")])
    assert kept.batches == []


@pytest.mark.parametrize("kind", [Kind.LIST, Kind.REMOVE, Kind.LINK, Kind.RANGE, Kind.VERIFY, Kind.SET_DIR_METADATA])
def test_what_is_not_looked_at_again_is_granted_again_less_what_is_done(kind: Kind) -> None:
    kept = GrantRecord([batch(kind, "abcd"), batch(kind, "ef"), batch(kind, "a", b"other")], whole=False)
    kept.drop([batch(kind, "bf")])
    kept.drop([batch(kind, "a", b"other")])
    granted, todo = requeue(kept.batches, whole=False)
    assert todo == [] and {each.kind for each in granted} == {kind}
    assert sorted(names(granted)) == ["a", "c", "d", "e"]


def test_ranges_of_two_files_are_told_apart_by_their_stages() -> None:
    one, other = (BigFile(b"big", b"big", 100, stage, ()) for stage in (b"s1", b"s2"))
    kept = GrantRecord([batch(Kind.RANGE, "12", big=one), batch(Kind.RANGE, "12", big=other)], whole=False)
    kept.drop([batch(Kind.RANGE, "12", big=other)])
    (left,) = requeue(kept.batches, whole=False)[0]
    assert left.big == one and names([left]) == ["1", "2"]


def test_a_file_may_have_been_finished_by_who_was_lost() -> None:
    finish = batch(Kind.FINISH_FILE, "a", big=BigFile(b"a", b"a", 100, b"s", ()))
    assert [each.again for each in requeue(GrantRecord([finish], whole=False).batches, whole=False)[0]] == [True]


def test_what_no_listing_finds_again_is_checked_by_name() -> None:
    kept = GrantRecord([batch(Kind.COPY, "abT", trees="T")], whole=True)
    kept.drop([batch(Kind.COPY, "a")])
    granted, todo = requeue(kept.batches, whole=True)
    assert [(each.kind, each.equal) for each in granted] == [(Kind.CHECK, False)] and names(granted) == ["b"]
    assert todo == [Relist(0, b"d/T", b"to/d/T", True)]


def test_a_stage_may_be_where_content_was_for_and_where_names_are_linked() -> None:
    links = Batch(
        Kind.LINK,
        0,
        b"",
        b"",
        Units.of([link_unit(b"x/a", NOTHING, b"to/a", b"e/l"), link_unit(b"b", NOTHING, b"b", b"l")]),
    )
    left = stage_dirs(
        [batch(Kind.COPY, "a"), batch(Kind.START_FILE, "b", b"e"), links, batch(Kind.SET_DIR_METADATA, "s", b"f")]
    )
    assert set(left) == {b"to/d", b"to/e", b"to", b""}


@given(st.randoms(use_true_random=True), st.booleans(), st.sampled_from([Kind.COPY, Kind.REMOVE, Kind.CHECK]))
def test_in_whatever_parts_it_is_told_what_is_out_is_remembered(chance: Random, whole: bool, kind: Kind) -> None:
    batches, out = [], {}
    for number in range(chance.randint(1, 5)):
        directory = chance.choice([b"d", b"e"])
        some = [chr(ord("a") + 6 * number + at) for at in range(chance.randint(1, 6))]
        trees = "".join(name for name in some if chance.random() < 0.3) if kind is Kind.COPY else ""
        batches.append(batch(kind, "".join(some), directory, trees))
        out.update({unit.name: (directory, unit) for unit in batches[-1].units})
    kept = GrantRecord(batches, whole)
    parts = [each.split(at) for each in batches for at in [chance.randint(0, len(each.units))]]
    pieces = [piece for pair in parts for piece in pair if len(piece.units)]
    chance.shuffle(pieces)
    for piece in pieces:
        kept.drop([piece])
        for unit in piece.units:
            del out[unit.name]
        granted, todo = requeue(kept.batches, whole)
        flat = {each.source_dir for each in todo if not each.recursive}
        deep = {each.source_dir for each in todo if each.recursive}
        named = {unit.name for each in granted for unit in each.units}
        for name, (directory, unit) in out.items():
            assert (
                directory + b"/" + name in deep
                if unit.tally.directories and kind is Kind.COPY
                else (name in named or directory in flat)
            )
        assert named <= out.keys(), "what is done is not granted again"
        assert deep <= {directory + b"/" + name for name, (directory, _) in out.items()}
    assert kept.batches == []


def test_directories_to_list_that_a_lost_rank_may_have_copied_say_so_to_whoever_lists_them() -> None:
    units = Units.of([Unit(b"a/b", NOTHING, 0, b"a/b"), Unit(b"c", NOTHING, 0, b"c")])
    shallow = Batch(Kind.LIST, 0, b"", b"", units, new=True)
    assert requeue([shallow], False, 3) == ([shallow], [])
    again, todo = requeue([shallow.deeper()], False, 3)
    once_more, _ = requeue(again, False, 5)
    assert todo == [] and [each.lost for each in (*again, *once_more)] == [(3,), (3, 5)]
    assert sorted(stage_dirs(again)) == [b"", b"a"] and list(stage_dirs([shallow])) == []
    assert pickle.loads(pickle.dumps(once_more)) == once_more

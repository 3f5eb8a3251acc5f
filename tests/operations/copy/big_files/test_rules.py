"""Ranges cover a file exactly once, and whatever order they are told of in, the file is finished once."""

from __future__ import annotations

import pickle
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.operations.copy.big_files.rules import (
    ALIGNMENT,
    FileEnded,
    FileStarted,
    Holes,
    NearlyEmpty,
    RangeDone,
    RangeFailed,
    Ranges,
)
from hpcp_mpi.vocab.options import MIB
from hpcp_mpi.vocab.tally import NOTHING, Tally, one_file
from hpcp_mpi.vocab.units import Batch, BigFile, Kind, Unit, Units


def begun(size: int, number: int = 0, block: int = 0, target: bytes = b"f") -> FileStarted:
    big = BigFile(b"f", target, size, b"stage%d" % number, (size, 1, 2, 3))
    unit = Unit(b"f", one_file(size), size, None if target == b"f" else target)
    return FileStarted(Batch(Kind.START_FILE, 0, b"s", b"d", Units.of([unit]), over=True, big=big), block)


def pieces(batch: Batch, cuts: list[int]) -> list[Batch]:
    """A batch as it may look after it was granted, split and stolen."""
    found = []
    for cut in cuts:
        if 0 < cut < len(batch.units):
            first, batch = batch.split(cut)
            found.append(first)
    return [*found, batch]


def done(batch: Batch) -> RangeDone:
    assert batch.big is not None
    return RangeDone((batch.dest_dir, batch.big.stage), len(batch.units), batch.amount)


def failed(batch: Batch, reason: str, vanished: bool = False) -> RangeFailed:
    assert batch.big is not None
    return RangeFailed((batch.dest_dir, batch.big.stage), len(batch.units), reason, vanished)


@settings(deadline=None)
@given(size=st.integers(0, 10**5), split=st.integers(0, 2000), alignment=st.sampled_from([1, 16, 512]))
def test_ranges_cover_a_file_exactly_once_and_begin_where_blocks_do(size: int, split: int, alignment: int) -> None:
    work = Ranges(split, alignment).update(begun(size))
    assert len(work) == 1
    if size == 0:
        assert work[0].kind is Kind.FINISH_FILE
        return
    (batch,) = work
    assert batch.kind is Kind.RANGE and batch.over
    at = 0
    for unit in batch.units:
        assert int(unit.name) == at and at % alignment == 0
        assert unit.tally == Tally(bytes=unit.amount) and unit.amount > 0
        at += unit.amount
    assert at == size == batch.amount
    assert len({unit.amount for unit in list(batch.units)[:-1]}) <= 1


@st.composite
def maps(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int]]]:
    """A size, and where a file of that size has data, and how much."""
    at, data = 0, []
    for hole, length in draw(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3000)), max_size=12)):
        data.append((at + hole, at + hole + length, draw(st.integers(1, length))))
        at = data[-1][1]
    return at + draw(st.integers(0, 10**6)), data


@settings(deadline=None)
@given(maps(), st.integers(0, 2000), st.sampled_from([1, 16, 512]))
def test_ranges_of_a_sparse_file_cover_it_once_and_have_equal_parts_of_its_data(
    file: tuple[int, list[tuple[int, int, int]]], split: int, alignment: int
) -> None:
    size, data = file
    began = replace(begun(size), data=tuple(data))
    (batch,) = Ranges(split, alignment).update(began)
    if not size:
        assert batch.kind is Kind.FINISH_FILE
        return
    at, total = 0, sum(amount for _, _, amount in data)
    length = max(1, -(-max(1, split) // alignment) * alignment)
    for unit in batch.units:
        assert int(unit.name) == at and at % alignment == 0 and unit.tally == Tally(bytes=unit.tally.bytes)
        assert 0 <= unit.amount <= min(unit.tally.bytes, length + 2 * alignment)
        at += unit.tally.bytes
    assert at == size and batch.amount == total
    assert len(batch.units) <= 1 + 2 * total // length, "a hole is no reason for a range"


def test_holes_are_known_from_the_beginning_of_a_file_to_its_end() -> None:
    planner = Ranges(100, alignment=1)
    sparse = begun(10**6)
    assert sparse.batch.big is not None
    big = replace(sparse.batch.big, data=300)
    began = FileStarted(replace(sparse.batch, big=big), data=((1000, 1300, 300),))
    (batch,) = planner.update(began)
    assert (planner.holes, batch.amount, len(batch.units)) == (Holes(10**6 - 300, 0), 300, 3)
    (finish,) = planner.update(done(batch))
    assert planner.copied == 300 and planner.holes.passed == 0
    planner.update(FileEnded((finish.dest_dir, big.stage)))
    planner.update(NearlyEmpty(50))
    assert planner.copied == 0 and planner.holes == Holes(10**6 - 300 + 50, 10**6 - 300 + 50)


def test_what_is_left_of_a_sparse_file_is_its_data() -> None:
    big = BigFile(b"f", b"f", 10**12, b"stage0", (10**12, 1, 2, 3), data=500)
    finish = Batch(Kind.FINISH_FILE, 0, b"s", b"d", Units.of([Unit(b"f", one_file(10**12))]), big=big)
    planner = Ranges(100, alignment=1)
    planner.resume(finish, Units.of([Unit(b"0", Tally(bytes=10**11), 200)]))
    assert planner.copied == 300 and planner.holes == Holes(10**12 - 500, 0)


@pytest.mark.parametrize(
    "split, block, length",
    [
        (1, 0, ALIGNMENT),
        (256 * MIB, 4096, 256 * MIB),
        (256 * MIB + 1, 4096, 260 * MIB),
        (20 * MIB, 16 * MIB, 32 * MIB),
        (1, 6 * MIB, 6 * MIB),
    ],
)
def test_a_range_is_a_multiple_of_4_MiB_or_of_larger_blocks(split: int, block: int, length: int) -> None:
    (batch,) = Ranges(split).update(begun(1000 * MIB, block=block))
    assert next(iter(batch.units)).amount == length


@given(st.data())
def test_any_order_of_news_leads_to_exactly_one_finish_of_each_file(data: st.DataObject) -> None:
    planner = Ranges(10, alignment=1)
    sizes = data.draw(st.lists(st.integers(0, 200), min_size=1, max_size=5))
    waiting: list[object] = [begun(size, number) for number, size in enumerate(sizes)]
    spoilt: dict[bytes, list[str]] = {}
    finished: list[Batch] = []
    while waiting:
        news = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        for batch in planner.update(pickle.loads(pickle.dumps(news))):
            if batch.kind is Kind.FINISH_FILE:
                finished.append(batch)
                continue
            for piece in pieces(batch, data.draw(st.lists(st.integers(1, 4), max_size=8))):
                assert piece.big is not None
                if data.draw(st.integers(0, 9)):
                    waiting.append(done(piece))
                else:
                    reason = data.draw(st.sampled_from(["", "no space", "it changed"]))
                    spoilt.setdefault(piece.big.stage, []).append(reason)
                    waiting.append(failed(piece, reason))
        assert planner.idle == (planner.active == 0)
    assert planner.idle
    found = {batch.big.stage: batch for batch in finished if batch.big is not None}
    assert len(finished) == len(found) == len(sizes)
    for number, size in enumerate(sizes):
        stage = b"stage%d" % number
        big, (unit,) = found[stage].big, found[stage].units
        assert big is not None and unit.tally == one_file(size)
        reasons = spoilt.get(stage, [])
        assert bool(big.failure) == bool(reasons)
        if any(reasons):
            assert big.failure in reasons


def test_who_says_why_wins_over_who_only_found_nothing() -> None:
    planner = Ranges(1, alignment=1)
    (batch,) = planner.update(begun(3))
    first, second, third = (batch.split(1)[0], batch.split(1)[1].split(1)[0], batch.split(2)[1])
    assert planner.update(failed(first, "")) == []
    assert planner.update(failed(second, "gone", vanished=True)) == []
    (finish,) = planner.update(failed(third, "another"))
    assert finish.big is not None
    assert (finish.big.failure, finish.big.vanished) == ("gone", True)


def test_a_file_whose_copy_is_gone_for_no_reason_is_not_finished() -> None:
    planner = Ranges(1, alignment=1)
    (batch,) = planner.update(begun(1))
    (finish,) = planner.update(failed(batch, "", vanished=True))
    assert finish.big is not None
    assert "emptied" in finish.big.failure and not finish.big.vanished


def test_a_file_keeps_its_other_name() -> None:
    planner = Ranges(1, alignment=1)
    (batch,) = planner.update(begun(1, target=b"g"))
    (finish,) = planner.update(done(batch))
    assert [unit.target for unit in finish.units] == [b"g"]


def test_news_of_others_and_of_finished_files_is_ignored() -> None:
    planner = Ranges(1, alignment=1)
    (batch,) = planner.update(begun(1))
    assert planner.update("something else") == []
    assert len(planner.update(done(batch))) == 1
    assert planner.update(done(batch)) == [] and planner.idle


@given(st.integers(1, 60), st.data())
def test_another_run_goes_on_with_what_is_missing(count: int, data: st.DataObject) -> None:
    """What the first run knows to be done is not done again, all else is, and the file is finished once."""
    size = count * 10 - 3
    first = Ranges(10, 1)
    (batch,) = first.update(begun(size))
    cuts = data.draw(st.lists(st.integers(1, 5), max_size=5))
    parts = data.draw(st.permutations(pieces(batch, cuts)))
    told = data.draw(st.integers(0, len(parts) - 1))
    for part in parts[:told]:
        assert first.update(done(part)) == []
    (finish,) = first.files.values()
    assert finish.kind is Kind.FINISH_FILE and finish.units.names == [b"f"]
    left = Units.of(unit for part in parts[told:] for unit in part.units)

    second = Ranges(7, 1)  # of another size now
    again = second.resume(pickle.loads(pickle.dumps(finish)), pickle.loads(pickle.dumps(left)))
    assert (again.kind, list(again.units)) == (Kind.RANGE, list(left))
    assert again.big == finish.big and again.dest_dir == finish.dest_dir
    ends = [end for part in pieces(again, [1, 2]) for end in second.update(done(part))]
    assert [(end.kind, end.units.names, end.big) for end in ends] == [(Kind.FINISH_FILE, [b"f"], finish.big)]
    assert second.idle


def test_a_file_of_which_nothing_is_missing_is_finished_in_doubt() -> None:
    """The run before may have done it, and not told."""
    first = Ranges(10, 1)
    first.update(begun(25))
    (finish,) = first.files.values()
    second = Ranges(10, 1)
    end = second.resume(finish, Units([], []))
    assert end.kind is Kind.FINISH_FILE and end.again and second.idle


def test_of_a_file_that_is_spoilt_nothing_is_remembered() -> None:
    first = Ranges(10, 1)
    (batch,) = first.update(begun(25))
    first.update(failed(batch.split(1)[0], "it changed"))
    assert first.files == {} and not first.idle


@settings(deadline=None)
@given(st.integers(1, 10**5), st.randoms(use_true_random=False), st.booleans())
def test_copied_ranges_count_until_their_file_has_ended_and_never_beside_it(
    size: int, chance: Random, resumed: bool
) -> None:
    """What is in no outcome is counted here; when an outcome counts the file, or says that it failed, nothing is."""
    ranges, before = Ranges(1, 512), 0
    if resumed:
        big = BigFile(b"f", b"f", size, b"stage0", (size, 1, 2, 3))
        units = Units.of([Unit(b"0", NOTHING, size // 2)] if size > 1 else [])
        before = size - units.amount
        finish = Batch(Kind.FINISH_FILE, 0, b"s", b"d", Units.of([Unit(b"f", one_file(size))]), big=big)
        waiting = [ranges.resume(finish, units)]
    else:
        waiting = ranges.update(begun(size))
    assert ranges.copied == before
    copied = before
    while waiting[0].kind is Kind.RANGE:
        batch = waiting.pop()
        first, *rest = pieces(batch, [chance.randint(1, 3)])
        failing = chance.random() < 0.2
        copied += 0 if failing else first.amount
        waiting = [*rest, *ranges.update(failed(first, "EIO") if failing else done(first))] or waiting
        assert ranges.copied == copied
    (finish,) = waiting
    assert finish.kind is Kind.FINISH_FILE and finish.big is not None and ranges.copied == copied <= size
    ranges.update(FileEnded((finish.dest_dir, finish.big.stage)))
    assert ranges.copied == 0 and ranges.idle
    ranges.update(FileEnded((finish.dest_dir, finish.big.stage)))  # told twice, by a rank that was lost and another one
    assert ranges.copied == 0

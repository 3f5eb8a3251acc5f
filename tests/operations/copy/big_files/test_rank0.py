"""Big files are begun a few at a time, wherever they were found, and a feed is not exhausted before all have ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpcp_mpi.cluster.feed import Stream
from hpcp_mpi.operations.copy.big_files.rank0 import _UNDER_WAY, WithRanges
from hpcp_mpi.operations.copy.big_files.rules import FilesStarted, FileStarted, RangeDone
from hpcp_mpi.vocab.tally import one_file
from hpcp_mpi.vocab.units import Batch, BigFile, Kind, Unit, Units

SIZE = 4 << 20  # bytes: one range


def files(count: int) -> Batch:
    return Batch(
        Kind.START_FILE, 0, b"", b"", Units.of(Unit(b"%d" % number, one_file(SIZE)) for number in range(count))
    )


def begun(batch: Batch) -> list[object]:
    """What a worker says when it has begun the files of a batch."""
    said: list[object] = []
    for unit in batch.units:
        big = BigFile(unit.name, unit.target, SIZE, b"stage of " + unit.name, (), 0)
        said.append(FileStarted(replace(batch, units=Units.of([unit]), big=big)))
    return [*said, FilesStarted(len(batch.units))]


@pytest.mark.parametrize("found_by_a_worker", [False, True])
def test_no_more_files_than_allowed_have_a_stage_and_all_are_finished(found_by_a_worker: bool) -> None:
    count = 3 * _UNDER_WAY + 1
    feed = WithRanges(Stream([] if found_by_a_worker else [files(count)]), SIZE)
    if found_by_a_worker:
        feed.on_findings([files(count)])
    staged, finished = 0, 0
    while not feed.done:
        for batch in feed.next_batches():
            if batch.kind is Kind.START_FILE:
                staged += len(batch.units)
                assert staged <= _UNDER_WAY
                feed.on_findings(begun(batch))
            elif batch.kind is Kind.RANGE:
                assert batch.big is not None
                feed.on_findings([RangeDone((batch.dest_dir, batch.big.stage), len(batch.units), batch.amount)])
            else:
                assert batch.kind is Kind.FINISH_FILE
                staged -= 1
                finished += 1
    assert finished == count


def test_files_that_came_to_an_end_at_once_make_room() -> None:
    feed = WithRanges(Stream([files(2 * _UNDER_WAY)]), SIZE)
    ended = 0
    while not feed.done:
        for batch in feed.next_batches():
            ended += len(batch.units)
            feed.on_findings([FilesStarted(len(batch.units))])
    assert ended == 2 * _UNDER_WAY


def of_an_earlier_run(count: int) -> list[tuple[Batch, Units]]:
    """What finishes each of some files, and the ranges that are missing."""
    found = []
    for unit in files(count).units:
        big = BigFile(unit.name, unit.target, 2 * SIZE, b"stage of " + unit.name, (), 0)
        left = Units.of([Unit(b"0", amount=SIZE), Unit(b"%d" % SIZE, amount=SIZE)][: int(unit.name) % 3])
        found.append((Batch(Kind.FINISH_FILE, 0, b"", b"", Units.of([unit]), big=big), left))
    return found


def test_files_that_another_run_began_are_gone_on_with_and_not_begun_again() -> None:
    """The scan finds them, too, as they are not there under their names."""
    feed = WithRanges(Stream([files(9)]), SIZE, of_an_earlier_run(6))
    began, finished, copied = [], [], 0
    assert len(feed.files) == 4 and len(feed.pending) == 6  # of two nothing was missing
    while not feed.done:
        for batch in feed.next_batches():
            if batch.kind is Kind.START_FILE:
                began += batch.units.names
                feed.on_findings(begun(batch))
            elif batch.kind is Kind.RANGE:
                assert batch.big is not None
                copied += len(batch.units)
                feed.on_findings([RangeDone((batch.dest_dir, batch.big.stage), len(batch.units), batch.amount)])
            else:
                finished += batch.units.names
    assert (sorted(began), copied) == ([b"6", b"7", b"8"], 6 + 3)
    assert sorted(finished) == [b"%d" % number for number in range(9)]


def test_a_file_that_a_worker_finds_is_not_begun_again_either() -> None:
    feed = WithRanges(Stream([]), SIZE, of_an_earlier_run(2))
    feed.on_findings([files(3)])
    assert [name for batch in feed.next_batches() if batch.kind is Kind.START_FILE for name in batch.units.names] == [
        b"2"
    ]

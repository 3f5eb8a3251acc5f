"""What is written down adds up over coordinators and runs, and a ledger that breaks does not break the run."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from hpcp_mpi.engine.checkpoints import CheckpointWriter, CopyState, Snapshot
from hpcp_mpi.vocab.checkpoint import UNDER_WAY, ResumeState
from hpcp_mpi.vocab.errors import Failure, FatalError
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.report import RankShare
from hpcp_mpi.vocab.tally import Tally
from tests.support.interrupted import Notes


def snapshot(copied: int, found: int, linked: int = 0) -> Snapshot:
    outcome = Outcome(copied=Tally(copied, 0, 0, 0, copied * 10), linked=linked)
    return Snapshot(
        phase="copying", scanned=Tally(found), scan_done=False, outcome=outcome, listed=Outcome(),
        chunks=1, steals=2, messages=5, active=1, alive=2,
        ranks=[(RankShare(1, "n", 4), 3, Tally(bytes=7))], under_way=Tally(bytes=9),
    )  # fmt: skip


def failure(path: bytes) -> Failure:
    return Failure(path, "no")


def test_jobs_and_runs_add_up() -> None:
    notes, said = Notes(), []
    log = CheckpointWriter(notes, None, said.append)
    first, second = snapshot(3, 5, 1), snapshot(10, 20, 2)
    log.write(first, CopyState())
    first.outcome.copied = Tally(4, 0, 0, 0, 40)
    log.write(first, CopyState())
    log.next_job()
    log.write(second, CopyState())
    files = [(cp.tallies["copied"].files, cp.tallies["found"].files, cp.sample.files) for cp in notes.checkpoints]
    assert files == [(3, 5, 3), (4, 5, 4), (14, 25, 14)]
    saved = notes.saved(3)
    assert saved is not None
    again = Notes()
    other = CheckpointWriter(again, saved, said.append)
    assert other.copied_before.files == 14 and other.resume_state() is saved and other.resume_state() is None
    other.write(snapshot(1, 2, 4), CopyState())
    (cp,) = again.checkpoints
    assert (cp.tallies["copied"].files, cp.tallies["found"].files, cp.linked) == (15, 27, 6)
    assert cp.seconds >= saved.latest.seconds and not said


def test_what_is_under_way_is_shown_and_never_added_to_what_another_run_does() -> None:
    notes, again = Notes(), Notes()
    log = CheckpointWriter(notes, None, lambda _: None)
    log.write(snapshot(3, 5), CopyState())
    (cp,) = notes.checkpoints
    assert (cp.tallies["copied"].bytes, cp.tallies[UNDER_WAY].bytes) == (30, 9)
    assert (cp.sample.bytes, cp.ranks[0].bytes) == (39, 7)
    assert replace(cp, tallies={**cp.tallies, "found": Tally(5, 0, 0, 0, 100)}).left == Tally(2, 0, 0, 0, 61)
    CheckpointWriter(again, notes.saved(1), lambda _: None).write(snapshot(1, 2), CopyState())
    (cp,) = again.checkpoints
    assert (cp.tallies["copied"].bytes, cp.tallies[UNDER_WAY].bytes, cp.sample.bytes) == (40, 9, 49)


def test_what_happened_is_written_once_whoever_met_it() -> None:
    notes = Notes()
    log = CheckpointWriter(notes, None, lambda _: None)
    first, second = snapshot(0, 0), snapshot(0, 0)
    first.outcome.failures.append(failure(b"a"))
    first.listed.failures.append(failure(b"l"))
    first.listed.warn(b"socket", "is one")
    log.write(first, CopyState())
    log.write(first, CopyState())
    first.listed.failures.append(failure(b"m"))
    first.outcome.failures.append(failure(b"b"))
    first.outcome.warn(b"x", "y")
    log.write(first, CopyState())
    second.outcome.failures.append(failure(b"c"))
    log.next_job()
    log.write(second, CopyState())
    told = [sorted(each.path for each in cp.failures) for cp in notes.checkpoints]
    assert told == [[b"a", b"l"], [], [b"b", b"m"], [b"c"]]
    assert [cp.notes for cp in notes.checkpoints] == [((b"socket", "is one"),), (), ((b"x", "y"),), ()]


def test_a_short_run_never_loses_more_than_a_third_and_a_long_one_never_more_than_five_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log = CheckpointWriter(Notes(), None, lambda _: None)
    moments = []
    for tick in range(1, 61 * 8):
        now = 100 + tick / 8
        if log.due():
            moments.append(now - 100)
            log.write(snapshot(1, 1), CopyState())
    lost = [(later - earlier, later) for earlier, later in zip([0.0, *moments], moments, strict=False)]
    assert moments[0] == 1.0 and all(seconds <= 5.125 for seconds, _ in lost)
    assert all(seconds <= later / 3 + 0.125 for seconds, later in lost if later > 2)
    assert len(moments) < 18  # each costs a disk a write


def test_a_run_that_looks_at_everything_again_says_so_once() -> None:
    done = Notes()
    CheckpointWriter(done, None, lambda _: None).write(snapshot(7, 7), CopyState())
    for exit_code, before in ((0, 0), (75, 7), (23, 7)):
        saved = done.saved(1, exit_code)
        assert isinstance(saved, ResumeState)
        again = Notes()
        log = CheckpointWriter(again, saved, lambda _: None)
        log.restart(saved)
        log.write(snapshot(1, 1), CopyState())
        log.write(snapshot(1, 1), CopyState())
        assert [cp.restart for cp in again.checkpoints] == [True, False]
        assert again.checkpoints[0].tallies["copied"].files == before + 1
        assert log.copied_before.files == before


def test_a_ledger_that_breaks_is_told_of_once() -> None:
    class WorkerFailed(Notes):
        def checkpoint(self, cp: Any) -> None:
            raise FatalError("cannot write the ledger: No space left on device")

    said: list[str] = []
    log = CheckpointWriter(WorkerFailed(), None, said.append)
    assert log.broken == ""
    log._next = 0.0
    assert log.due()
    for _ in range(3):
        log.write(snapshot(1, 1), CopyState())
        log._next = 0.0
        assert not log.due()
    log.end(0)
    assert len(said) == 1 and "No space left on device; the run continues without it" in said[0]
    assert log.broken in said[0]


def test_a_saved_state_knows_nothing_of_later_checkpoints() -> None:
    """Of the stand-in for a ledger."""
    notes = Notes()
    log = CheckpointWriter(notes, None, lambda _: None)
    log.write(snapshot(1, 1), CopyState(records={"linked": b"1"}))
    log.write(snapshot(2, 1), CopyState(records={"linked": b"2"}))
    notes.checkpoints.append(replace(notes.checkpoints[-1], records={"settled": b"3"}, restart=True))
    saved = [notes.saved(count) for count in range(4)]
    assert saved[0] is None
    assert [each and dict(each.records) for each in saved[1:]] == [
        {"linked": [b"1"]}, {"linked": [b"1", b"2"]}, {"settled": [b"3"]},
    ]  # fmt: skip

"""The writer of a ledger: the next run finds what a run wrote."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpcp_mpi.ledger.reader import read
from hpcp_mpi.ledger.writer import open_new, resume_ledger
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.tally import Tally
from tests.ledger.making import checkpoint, end_process, heading, rows
from tests.support.launch import run


def test_a_run_goes_on_with_what_the_one_before_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a\udcff ledger?x=1"
    first = open_new(os.fsencode(path), heading(started=1000.0))
    first.checkpoint(checkpoint(1))
    first.checkpoint(checkpoint(2))
    first.end(checkpoint(3), 75)
    assert os.listdir(tmp_path) == [path.name], "no journal is left"
    second, saved = resume_ledger(os.fsencode(path), heading())
    expected = [checkpoint(number) for number in (1, 2, 3)]
    assert saved.latest == replace(
        checkpoint(3),
        records={},
        failures=tuple(failure for each in expected for failure in each.failures),
        notes=tuple(note for each in expected for note in each.notes),
    )
    assert (saved.runs, saved.started, saved.complete, saved.exit_code) == (1, 1000.0, True, 75)
    second.checkpoint(checkpoint(4))
    for kind, blocks in saved.records.items():
        assert list(blocks) == [each.records[kind] for each in expected], "not those of the run that reads"
    second.close()
    _, saved = resume_ledger(os.fsencode(path), heading())
    assert saved.latest.failures == checkpoint(4).failures, "those of earlier runs have been replaced"
    assert len(saved.latest.notes) == 4 and saved.runs == 2 and not saved.complete


def test_a_run_that_did_more_twice_than_was_equal_can_be_gone_on_with(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "ledger")
    less = {"found": Tally(5), "copied": Tally(8), "identical": Tally(-3)}
    first = open_new(path, heading())
    first.end(checkpoint(1, tallies=less), 75)
    second, saved = resume_ledger(path, heading())
    second.close()
    assert saved.latest.tallies == less
    status = read(path)
    assert status.amounts["identical"] == Tally() and status.amounts["copied"] == Tally(8)


def test_a_kill_right_after_going_on_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    first = open_new(os.fsencode(path), heading())
    first.end(checkpoint(1), 75)
    for runs in (1, 2, 3):
        _, saved = resume_ledger(os.fsencode(path), heading())
        assert saved.latest == replace(checkpoint(1), records={})
        assert saved.runs == runs and saved.complete == (runs == 1)
        end_process(path)


def test_a_run_that_was_killed_before_its_first_checkpoint_knew_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    open_new(os.fsencode(path), heading())
    end_process(path)
    second, saved = resume_ledger(os.fsencode(path), heading())
    assert saved.latest.phase == "" and saved.latest.todo == () and dict(saved.records) == {}
    second.close()


def test_a_worker_loads_no_database() -> None:
    loads = (
        "import sys, hpcp_mpi.cli.main, hpcp_mpi.operations.worker, hpcp_mpi.cli.status\n"
        "assert 'hpcp_mpi.ledger' not in sys.modules and 'sqlite3' not in sys.modules"
    )
    run([], flavour="plain", python_args=("-c", loads)).check()


def test_what_is_there_already_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b"precious")
    with pytest.raises(FatalError, match="already") as error:
        open_new(os.fsencode(path), heading())
    assert "--resume" in error.value.remedy and path.read_bytes() == b"precious"
    path.write_bytes(b"")
    open_new(os.fsencode(path), heading()).end(None, 0)
    assert rows(path, "SELECT state,exit_code FROM run") == [("ended", 0)]

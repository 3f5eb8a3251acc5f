"""Disk errors of a ledger are reported in words, its content stays readable, and the run never waits for it."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcp_mpi.ledger import writer as writing
from hpcp_mpi.ledger.reader import read
from hpcp_mpi.ledger.writer import Ledger, open_new, resume_ledger
from hpcp_mpi.vocab.errors import FatalError
from tests.ledger.making import checkpoint, end_process, heading, rows, until
from tests.support.faultfs import mounted
from tests.support.marks import needs_fuse, needs_root


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(ledger: Ledger) -> FatalError:
    """Write until that fails; return the error."""
    for number in range(2, 1000):
        try:
            ledger.checkpoint(checkpoint(number, records={"settled": random.randbytes(50_000)}))
        except FatalError as error:
            return error
        time.sleep(0.005)
    raise AssertionError("nothing went wrong")


@needs_root
def test_a_full_disk_is_told_of_and_what_was_written_stays(small: Path) -> None:
    path = small / "ledger"
    ledger = open_new(os.fsencode(path), heading())
    ledger.checkpoint(checkpoint(1))
    error = fill(ledger)
    assert ledger.failure is error
    assert error.message == f"cannot write the ledger {path}: No space left on device" and "Make room" in error.remedy
    with pytest.raises(FatalError, match="No space left"):
        ledger.end(checkpoint(1000), 0)
    end_process(path)
    account = read(os.fsencode(path))
    assert account.latest is not None and len(account.latest.failures) == account.latest.linked
    assert account.condition == "killed"


@needs_root
def test_a_disk_that_is_full_from_the_start_gets_no_ledger(small: Path) -> None:
    with open(small / "other", "wb") as other, pytest.raises(OSError):
        other.write(bytes(1_000_000))
    with pytest.raises(FatalError, match=r"cannot make the ledger .*: No space left on device"):
        open_new(os.fsencode(small / "ledger"), heading())
    assert os.listdir(small) == ["other"]


@needs_fuse
def test_a_disk_that_fails_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    path = tmp_path / "b/ledger"
    open_new(os.fsencode(path), heading()).end(checkpoint(1), 75)
    with mounted(tmp_path / "b", eio_write="ledger") as mountpoint:
        with pytest.raises(FatalError, match=r"cannot resume the ledger .*: Input/output error"):
            resume_ledger(os.fsencode(mountpoint / "ledger"), heading())


def test_a_ledger_that_was_removed_meanwhile_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = open_new(os.fsencode(path), heading())
    path.unlink()
    assert "it was removed" in fill(ledger).message
    ledger.close()


def test_a_reader_that_keeps_a_lock_delays_the_ledger_and_not_the_run(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = open_new(os.fsencode(path), heading())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM run").fetchall()
    began = time.monotonic()
    for number in (1, 2, 3):
        ledger.checkpoint(checkpoint(number))
    assert time.monotonic() - began < 0.5
    time.sleep(0.3)
    assert ledger.waiting == 3 and ledger.failure is None
    other.execute("COMMIT")
    until(lambda: not ledger.waiting)
    assert rows(path, "SELECT phase FROM checkpoint") == [("phase 3",)]
    assert rows(path, "SELECT count(*) FROM failure") == [(3,)]
    ledger.end(None, 0)


def test_the_end_of_a_run_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_LAST", 0.3)
    path = tmp_path / "ledger"
    ledger = open_new(os.fsencode(path), heading())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(FatalError, match="another program keeps it locked"):
        ledger.end(checkpoint(1), 0)
    other.execute("ROLLBACK")


def test_a_disk_that_does_not_answer_is_given_up_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_PATIENCE", 0.2)
    ledger = open_new(os.fsencode(tmp_path / "ledger"), heading())
    with ledger.using:
        with pytest.raises(FatalError, match="does not answer"):
            ledger.end(checkpoint(1), 0)


def test_a_sign_of_life_is_given_while_there_is_nothing_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SIGN", 0.05)
    ledger = open_new(os.fsencode(tmp_path / "ledger"), heading())
    query = "SELECT alive FROM run"
    before = rows(tmp_path / "ledger", query)
    until(lambda: rows(tmp_path / "ledger", query) != before)
    ledger.close()


def test_a_block_is_packed_where_that_makes_it_smaller_by_a_third(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = open_new(os.fsencode(path), heading())
    blocks = {"zeros": bytes(9000), "noise": random.Random(1).randbytes(9000), "short": b"abc"}
    ledger.end(checkpoint(1, records=blocks), 0)
    found = dict(rows(path, "SELECT kind,packed FROM record"))
    assert found == {"zeros": 1, "noise": 0, "short": 0}
    ledger, saved = resume_ledger(os.fsencode(path), heading())
    assert {kind: b"".join(each) for kind, each in saved.records.items()} == blocks
    ledger.close()

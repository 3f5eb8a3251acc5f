"""Reading of a ledger in any state, by any user who may read it, without changing it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcp_mpi.ledger import reader
from hpcp_mpi.ledger.reader import read
from hpcp_mpi.ledger.writer import open_new, resume_ledger
from hpcp_mpi.vocab.errors import FatalError
from tests.ledger.making import change, checkpoint, end_process, heading, rows, until
from tests.support.faultfs import mounted
from tests.support.launch import REPOSITORY, run
from tests.support.marks import needs_fuse, needs_root

BUSY = """
import sys, time
from hpcp_mpi.ledger.writer import open_new
from tests.ledger.making import checkpoint, heading
ledger, number = open_new(sys.argv[1].encode(), heading()), 0
while True:
    number += 1
    ledger.checkpoint(checkpoint(number, records={"settled": b"%d:" % number + bytes(50_000)}))
    assert ledger.failure is None
    time.sleep(0.002)
"""
# Stops in the midst of a transaction, when pages have been written to the file already.
HALF = """
import os, signal, sys
from hpcp_mpi.ledger.writer import open_new
from tests.ledger.making import checkpoint, heading
ledger = open_new(sys.argv[1].encode(), heading())
ledger.checkpoint(checkpoint(1))
while ledger.waiting: pass
ledger.connection.execute("PRAGMA cache_size=1")
ledger.connection.execute("PRAGMA cache_spill=1")
ledger.connection.execute("BEGIN IMMEDIATE")
ledger.connection.execute("UPDATE checkpoint SET phase='half'")
for number in range(200):
    ledger.connection.execute("INSERT INTO record(kind,packed,block) VALUES('settled',0,randomblob(5000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def writer(path: Path, script: str = BUSY) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", script, path], cwd=REPOSITORY)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def half_written(path: Path) -> None:
    with writer(path, HALF) as process:
        assert process.wait(30) == -signal.SIGKILL
    assert path.with_name(path.name + "-journal").stat().st_size > 0


def content(directory: Path) -> dict[str, str]:
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in directory.iterdir()}


def test_everything_that_was_written_is_in_the_account(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    first = open_new(os.fsencode(path), heading(started=1000.0, host="n1"))
    first.checkpoint(checkpoint(1))
    first.end(checkpoint(2), 75)
    second, _ = resume_ledger(os.fsencode(path), heading(job="12"))
    second.end(checkpoint(3, failures=()), 23)
    account = read(os.fsencode(path))
    assert (account.verb, account.destination, account.started) == ("copy", b"/backup", 1000.0)
    assert account.sources == (b"/data/a\xff", b"/data/b\nb")
    assert [(each.number, each.host, each.job, each.exit_code) for each in account.runs] == [
        (1, "n1", "4711", 75),
        (2, os.uname().nodename, "12", 23),
    ]
    assert account.last.command == heading().command and account.last.pid == os.getpid()
    assert account.latest is not None and account.latest.phase == "phase 3"
    assert account.latest.failures == (), "those of earlier runs count no more"
    assert account.todo == (4, 0) and account.latest.todo == ()
    assert account.records["settled"][0] == 3 and account.records["links"] == (3, 6)
    assert [(run, sample.files) for run, sample in account.samples] == [(1, 1), (1, 2), (2, 3)]
    assert [len(each.ranks) for each in account.runs] == [3, 3]
    assert (account.condition, account.before) == ("ended", 2.5)


def test_the_condition_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger"
    ledger = open_new(os.fsencode(path), heading())

    def condition() -> tuple[str, bool | None]:
        account = read(os.fsencode(path))
        return account.condition, account.there

    assert condition() == ("running", True)
    change(path, "UPDATE run SET alive=alive-100")
    assert condition() == ("silent", True)
    change(path, "UPDATE run SET place='elsewhere'")
    assert condition() == ("silent", None)
    change(path, "UPDATE run SET alive=alive+100")
    assert condition() == ("running", None)
    change(path, "UPDATE run SET alive=alive+100")
    assert condition() == ("running", None), "a clock may be ahead"
    ledger.close()
    assert condition() == ("broken", False)
    resume_ledger(os.fsencode(path), heading())
    end_process(path)
    assert condition() == ("killed", False)
    resume_ledger(os.fsencode(path), heading())[0].end(None, 75)
    assert condition() == ("stopped", False)


def test_a_reader_sees_whole_checkpoints_while_the_run_writes_and_does_not_stop_it(on_tmpfs: Path) -> None:
    path = on_tmpfs / "ledger"
    with writer(path) as process:
        until(lambda: path.exists() and path.stat().st_size)
        seen = _watch(path, process)
    assert len(set(seen)) > 5 and seen == sorted(seen)


def _watch(path: Path, process: subprocess.Popen[bytes]) -> list[int]:
    """Read for two seconds; return the numbers of the checkpoints that were seen."""
    seen, end = [], time.monotonic() + 2
    while time.monotonic() < end:
        assert process.poll() is None
        account = read(os.fsencode(path))
        if account.latest is None:
            continue
        number = int(account.latest.phase.split()[1])
        assert account.latest.linked == number and account.latest.sample.files == number
        assert account.records["settled"][0] == len(account.latest.failures) == number
        seen.append(number)
        time.sleep(0.01)
    return seen


@needs_fuse
def test_without_locks_a_reader_sees_whole_checkpoints_too(on_tmpfs: Path) -> None:
    (on_tmpfs / "b").mkdir()
    with mounted(on_tmpfs / "b", no_locks=1) as mountpoint:
        script = BUSY.replace("0.002", "0.2")
        with writer(mountpoint / "ledger", script) as process:
            until(lambda: (on_tmpfs / "b/ledger").exists() and (on_tmpfs / "b/ledger").stat().st_size)
            seen = _watch(mountpoint / "ledger", process)
        assert len(set(seen)) > 2 and seen == sorted(seen)


@needs_fuse
def test_without_locks_what_a_killed_run_left_is_read_from_a_copy(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PATIENCE", 0.3)
    (on_tmpfs / "b").mkdir()
    half_written(on_tmpfs / "b/ledger")
    before = content(on_tmpfs / "b")
    with mounted(on_tmpfs / "b", no_locks=1) as mountpoint:
        account = read(os.fsencode(mountpoint / "ledger"))
    assert account.latest is not None and account.latest.phase == "phase 1"
    assert content(on_tmpfs / "b") == before


def test_what_a_killed_run_left_behind_is_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    half_written(path)
    account = read(os.fsencode(path))
    assert account.latest is not None and account.latest.phase == "phase 1" and account.condition == "killed"
    assert account.records["settled"][0] == 1


def test_a_link_to_a_ledger_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d").mkdir()
    half_written(tmp_path / "d/ledger")
    (tmp_path / "link").symlink_to("d/ledger")
    monkeypatch.setattr(os, "access", lambda *anything: False)  # so that a copy is read
    account = read(os.fsencode(tmp_path / "link"))
    assert account.latest is not None and account.latest.phase == "phase 1"


@needs_root
def test_who_may_not_write_reads_a_copy_and_leaves_all_as_it_is(
    everyone: Callable[[Path], Path], on_tmpfs: Path
) -> None:
    everyone(on_tmpfs / "mine")
    directory = on_tmpfs / "d"
    directory.mkdir()
    half_written(directory / "ledger")
    before = content(directory)
    shown = run(["--status", directory / "ledger"], flavour="plain", user="nobody")
    assert shown.returncode == 0 and "phase: phase 1" in shown.stdout, shown
    assert content(directory) == before


@needs_root
def test_who_may_not_read_it_is_told(everyone: Callable[[Path], Path], on_tmpfs: Path) -> None:
    everyone(on_tmpfs / "mine")
    path = on_tmpfs / "ledger"
    open_new(os.fsencode(path), heading()).end(None, 0)
    path.chmod(0o600)
    shown = run(["--status", path], flavour="plain", user="nobody")
    assert shown.returncode == 1 and "cannot read the ledger" in shown.stderr and "Permission denied" in shown.stderr


def test_what_is_no_ledger_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    for text, words in ((None, "there is no ledger"), (b"", "is empty"), (b"text" * 500, "is not a ledger")):
        if text is not None:
            path.write_bytes(text)
        with pytest.raises(FatalError, match=words):
            read(os.fsencode(path))
    assert os.listdir(tmp_path) == ["ledger"]


def test_a_damaged_ledger_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PATIENCE", 0.2)
    path = tmp_path / "ledger"
    open_new(os.fsencode(path), heading()).end(checkpoint(1), 0)
    damaged = bytearray(path.read_bytes())
    damaged[200:4096] = bytes(4096 - 200)
    path.write_bytes(damaged)
    with pytest.raises(FatalError, match="damaged"):
        read(os.fsencode(path))


def test_a_program_that_locks_it_for_long_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PATIENCE", 0.2)
    path = tmp_path / "ledger"
    open_new(os.fsencode(path), heading()).end(checkpoint(1), 0)
    script = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN EXCLUSIVE')\nprint('locked', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(FatalError, match="locked"):
            read(os.fsencode(path))
    assert rows(path, "SELECT count(*) FROM run") == [(1,)]

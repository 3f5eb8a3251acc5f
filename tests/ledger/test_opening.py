"""The runs that may write a ledger, and the messages for those that may not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.ledger import liveness, opening
from hpcp_mpi.ledger import writer as writing
from hpcp_mpi.ledger.file import FORMAT
from hpcp_mpi.ledger.writer import Ledger, NothingThere, open_new, resume_ledger
from hpcp_mpi.vocab.checkpoint import RunHeading
from hpcp_mpi.vocab.errors import FatalError
from tests.ledger.making import change, checkpoint, end_process, heading, rows, until
from tests.support.faultfs import mounted
from tests.support.launch import REPOSITORY, run
from tests.support.marks import needs_fuse, needs_root


def made(path: Path, state: str = "ended") -> Path:
    ledger = open_new(os.fsencode(path), heading())
    ledger.checkpoint(checkpoint(1))
    ledger.close() if state == "broken" else ledger.end(None, 75)
    return path


def refusal(work: Callable[[], object]) -> FatalError:
    with pytest.raises(FatalError) as error:
        work()
    assert not error.value.message.endswith(".")
    return error.value


def test_places_where_no_ledger_can_be_are_refused_in_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("nowhere")
    for name, words in {
        ".": "is a directory",
        "fifo": "is not a regular file",
        "link": "leads nowhere",
        "no/ledger": "there is no directory",
    }.items():
        path = os.fsencode(tmp_path / name)
        assert words in refusal(lambda path=path: open_new(path, heading())).message
        assert words in refusal(lambda path=path: resume_ledger(path, heading())).message
    assert sorted(os.listdir(tmp_path)) == ["fifo", "link"]


@needs_root
def test_a_directory_that_may_not_be_written_to_is_told_of(everyone: Callable[[Path], Path], on_tmpfs: Path) -> None:
    everyone(on_tmpfs / "mine")
    (on_tmpfs / "d").mkdir()
    script = (
        "import sys; from hpcp_mpi.ledger.writer import open_new; from hpcp_mpi.vocab.checkpoint import RunHeading\n"
        "open_new(sys.argv[1].encode(), RunHeading('copy', (), b'', (), '', '', '', 1))"
    )
    done = run([on_tmpfs / "d/ledger"], flavour="plain", user="nobody", python_args=("-c", script))
    assert "cannot make the ledger" in done.stderr and "Permission denied" in done.stderr
    assert os.listdir(on_tmpfs / "d") == []


def test_what_is_no_ledger_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    for content in (b"", b"text", b"text" * 5000):
        path.write_bytes(content)
        assert ("is empty" if not content else "not a ledger") in refusal(
            lambda: resume_ledger(os.fsencode(path), heading())
        ).message
        assert path.read_bytes() == content and os.listdir(tmp_path) == ["ledger"]
    path.unlink()
    assert "there is no ledger" in refusal(lambda: resume_ledger(os.fsencode(path), heading())).message
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE addresses(name)")
    database.close()
    assert "not a ledger" in refusal(lambda: resume_ledger(os.fsencode(path), heading())).message
    assert "already" in refusal(lambda: open_new(os.fsencode(path), heading())).message


def test_a_newer_format_is_left_to_a_newer_version(tmp_path: Path) -> None:
    path = made(tmp_path / "ledger")
    change(path, f"PRAGMA user_version={FORMAT + 1}")
    error = refusal(lambda: resume_ledger(os.fsencode(path), heading()))
    assert f"newer hpcp-mpi (format {FORMAT + 1}" in error.message and "version that wrote it" in error.remedy


def test_an_older_format_is_refused_and_says_how_to_begin_anew(tmp_path: Path) -> None:
    path = made(tmp_path / "ledger")
    change(path, "PRAGMA user_version=1")
    error = refusal(lambda: resume_ledger(os.fsencode(path), heading()))
    assert "older hpcp-mpi (format 1" in error.message and "without --resume" in error.remedy


def test_other_work_is_refused_and_the_ledger_says_what_it_is_of(tmp_path: Path) -> None:
    path = made(tmp_path / "ledger")
    error = refusal(lambda: resume_ledger(os.fsencode(path), heading(fingerprint="other")))
    assert "belongs to another run: copy /data/a\\xff /data/b\\nb -> /backup" in error.message
    assert "hpcp-mpi /data/a\\xff /data/b\\nb -d /backup" in error.remedy
    assert len(rows(path, "SELECT * FROM run")) == 1


def test_a_run_that_is_running_here_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    first = open_new(os.fsencode(path), heading())
    error = refusal(lambda: resume_ledger(os.fsencode(path), heading()))
    assert f"process {os.getpid()}" in error.message and "is running" in error.message and "--status" in error.remedy
    first.end(checkpoint(1), 0)
    assert first.failure is None


def test_a_process_that_has_got_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    open_new(os.fsencode(path), heading())
    change(path, "UPDATE run SET pid=1, pid_started=1")
    resume_ledger(os.fsencode(path), heading())[0].close()


@needs_root
def test_a_process_that_is_hidden_is_neither_there_nor_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everyone: Callable[[Path], Path]
) -> None:
    script = (
        "import sys; from hpcp_mpi.ledger import liveness\n"
        "from pathlib import Path\n"
        "class Hidden(type(Path())):\n"
        "    def read_text(self): raise FileNotFoundError\n"
        "liveness.Path = Hidden\n"
        "print(liveness.started(1), liveness.started(2**30))"
    )
    done = run([], flavour="plain", user="nobody", python_args=("-c", script))
    assert done.check().stdout.split() == ["None", "0"]


def test_a_run_that_said_that_it_broke_down_is_not_waited_for(tmp_path: Path) -> None:
    path = made(tmp_path / "ledger", "broken")
    change(path, "UPDATE run SET place='elsewhere'")
    said: list[str] = []
    second, saved = resume_ledger(os.fsencode(path), heading(), said.append)
    second.close()
    assert not said and not saved.complete


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Ledger]:
    """A ledger that a run on another host writes."""
    monkeypatch.setattr(writing, "SIGN", 0.1)
    path = tmp_path / "ledger"
    first = open_new(os.fsencode(path), heading())
    first.checkpoint(checkpoint(1))
    until(lambda: rows(path, "SELECT * FROM checkpoint"))
    change(path, "UPDATE run SET place='elsewhere', host='n7'")
    return path, first


def test_a_run_elsewhere_that_gives_signs_of_life_keeps_its_ledger(
    elsewhere: tuple[Path, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first = elsewhere
    monkeypatch.setattr(opening, "PATIENCE", 1.0)
    said: list[str] = []
    error = refusal(lambda: resume_ledger(os.fsencode(path), heading(), said.append))
    assert "is being written by process" in error.message and "on n7, job 4711" in error.message
    assert len(said) == 1 and "waiting" in said[0]
    first.end(None, 0)


def test_a_run_elsewhere_that_falls_silent_is_taken_over_and_notices_when_it_wakes_up(
    elsewhere: tuple[Path, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first = elsewhere
    monkeypatch.setattr(liveness, "STALE", 0.7)
    said: list[str] = []
    with first.using:  # it hangs
        time.sleep(0.2)
        second, saved = resume_ledger(os.fsencode(path), heading(), said.append)
    assert len(said) == 1 and saved.latest.phase == "phase 1" and not saved.complete
    until(lambda: first.failure)
    with pytest.raises(FatalError, match="was taken over by a run on"):
        first.checkpoint(checkpoint(2))
    with pytest.raises(FatalError, match="was taken over"):
        first.end(checkpoint(2), 0)
    second.end(checkpoint(3), 0)
    assert rows(path, "SELECT phase FROM checkpoint") == [("phase 3",)]
    assert rows(path, "SELECT state FROM run") == [("running",), ("ended",)]


def test_locks_of_a_node_that_died_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "ledger")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def said(news: str) -> None:
        assert "locked by another program" in news
        other.execute("ROLLBACK")

    resume_ledger(os.fsencode(path), heading(), said)[0].close()
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(opening, "PATIENCE", 0.2)
    assert "locked by another program" in refusal(lambda: resume_ledger(os.fsencode(path), heading())).message


@needs_fuse
def test_where_there_are_no_locks_it_works_without_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b").mkdir()
    with mounted(tmp_path / "b", no_locks=1) as mountpoint:
        path = mountpoint / "ledger"
        first = open_new(os.fsencode(path), heading())
        for number in (1, 2, 3):
            first.checkpoint(checkpoint(number))
        first.end(None, 75)
        second, saved = resume_ledger(os.fsencode(path), heading())
        assert saved.latest.phase == "phase 3" and len(list(saved.records["settled"])) == 3
        second.checkpoint(checkpoint(4))
        second.close()
    assert rows(tmp_path / "b/ledger", "SELECT unlocked FROM heading") == [(1,)]


@needs_fuse
def test_without_locks_a_run_notices_too_that_it_was_taken_over(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with mounted(tmp_path / "b", no_locks=1) as mountpoint:
        path = mountpoint / "ledger"
        first = open_new(os.fsencode(path), heading())
        first.checkpoint(checkpoint(1))
        until(lambda: not first.waiting)
        end_process(tmp_path / "b/ledger")
        second, _ = resume_ledger(os.fsencode(path), heading())
        first.checkpoint(checkpoint(2))
        until(lambda: first.failure)
        assert "was taken over" in str(first.failure)
        second.end(checkpoint(3), 0)
        first.close()
    assert rows(tmp_path / "b/ledger", "SELECT phase FROM checkpoint") == [("phase 3",)]


def racing(path: Path, work: Callable[[bytes, RunHeading], object]) -> int:
    """Call work in six processes at the same time; return how many succeeded. Those stay until all are done."""
    starts, begins = os.pipe()
    told, tells = os.pipe()
    children = []
    for _ in range(6):
        child = os.fork()
        if child == 0:
            os.close(begins)
            os.read(starts, 1)
            try:
                work(os.fsencode(path), heading())
                os.write(tells, b"+")
            except FatalError:
                os.write(tells, b"-")
            except BaseException:
                os.write(tells, b"!")
            time.sleep(60)
            os._exit(1)
        children.append(child)
    os.close(starts)
    os.close(begins)
    said = b""
    while len(said) < len(children):
        said += os.read(told, 10)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(told)
    os.close(tells)
    assert b"!" not in said
    return said.count(b"+")


def test_of_several_runs_at_the_same_time_one_gets_the_ledger(on_tmpfs: Path) -> None:
    for number in range(3):
        path = on_tmpfs / f"ledger{number}"
        assert racing(path, open_new) == 1
        for _ in range(2):
            assert racing(path, resume_ledger) == 1, "the one that had it was killed"
        assert rows(path, "SELECT count(*) FROM run") == [(3,)]


def test_a_run_that_was_killed_while_it_made_the_file_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    script = (
        "import os, sys; from hpcp_mpi.ledger import file, opening; from tests.ledger.making import heading\n"
        "path = sys.argv[1].encode(); open(path, 'x').close(); connection = file.connect(path, 'rw', True)\n"
        "file.prepare(connection); connection.execute('PRAGMA cache_size=1'); file.begin(connection)\n"
        "opening._fill(connection, heading(), False); os.kill(os.getpid(), 9)"
    )
    for begins in (False, True):
        subprocess.run([sys.executable, "-c", script, path], cwd=REPOSITORY)
        assert path.stat().st_size and (tmp_path / "ledger-journal").stat().st_size
        if begins:
            open_new(os.fsencode(path), heading()).close()
            continue
        with pytest.raises(NothingThere, match="is empty"):
            resume_ledger(os.fsencode(path), heading())
        path.unlink()


@needs_fuse
def test_without_locks_a_transaction_that_is_under_way_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").mkdir()
    made(tmp_path / "b/ledger", "broken")
    with mounted(tmp_path / "b", no_locks=1) as mountpoint:
        journal = mountpoint / "ledger-journal"
        journal.write_bytes(b"x")
        resume_ledger(os.fsencode(mountpoint / "ledger"), heading(), lambda news: journal.unlink())[0].close()
        journal.write_bytes(b"x")
        monkeypatch.setattr(opening, "PATIENCE", 0.2)
        error = refusal(lambda: resume_ledger(os.fsencode(mountpoint / "ledger"), heading()))
        assert "being written by another run" in error.message


def test_a_ledger_may_be_gone_on_with_after_its_process_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    first = open_new(os.fsencode(path), heading())
    first.checkpoint(checkpoint(1))
    until(lambda: rows(path, "SELECT * FROM checkpoint"))
    end_process(path)
    second, saved = resume_ledger(os.fsencode(path), heading(host="other"))
    assert saved.latest.phase == "phase 1" and not saved.complete and saved.exit_code is None
    second.close()


def test_a_ledger_that_others_may_write_to_is_not_trusted(tmp_path: Path) -> None:
    path = made(tmp_path / "ledger")
    for mode in (0o664, 0o646):
        path.chmod(mode)
        error = refusal(lambda: resume_ledger(os.fsencode(path), heading()))
        assert "others may write to the ledger" in error.message and f"{mode:04o}" in error.message
        assert "chmod go-w" in error.remedy
    path.chmod(0o644)
    resume_ledger(os.fsencode(path), heading())[0].close()


@needs_root
def test_nor_is_somebody_elses(tmp_path: Path) -> None:
    path = made(tmp_path / "ledger")
    os.chown(path, 65534, 65534)
    error = refusal(lambda: resume_ledger(os.fsencode(path), heading()))
    assert "belongs to another user (uid 65534)" in error.message and "of your own" in error.remedy
    empty = tmp_path / "empty"
    empty.touch()
    os.chown(empty, 65534, 65534)
    assert "another user" in refusal(lambda: open_new(os.fsencode(empty), heading())).message


def test_what_a_lax_umask_allows_is_not_used(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = made(tmp_path / "ledger")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    resume_ledger(os.fsencode(path), heading())[0].close()


def test_a_reader_that_comes_first_does_not_keep_a_run_from_its_new_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.touch()
    reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
    done = threading.Timer(0.5, lambda: reader.execute("ROLLBACK"))
    done.start()
    open_new(os.fsencode(path), heading()).close()
    done.join()
    reader.close()

"""Another user puts a journal beside a ledger: SQLite writes what it holds into the ledger, and removes the file that
it names. Neither a run nor `--status` lets it. Each attack is shown to work on a program that opens what is there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcp_mpi.ledger import reader
from hpcp_mpi.ledger.reader import read
from hpcp_mpi.ledger.writer import open_new, resume_ledger
from hpcp_mpi.vocab.errors import FatalError
from tests.ledger.making import checkpoint, heading
from tests.support.launch import run
from tests.support.marks import needs_root

NOBODY = 65534
# Run by the attacker. argv: a ledger that may be read, the journal to make. The journal holds pages of another ledger.
FORGE = """
import os, shutil, signal, sqlite3, sys
ledger, journal = sys.argv[1:]
work = journal + ".work"
shutil.copyfile(ledger, work)
connection = sqlite3.connect(work, isolation_level=None)
connection.execute("UPDATE heading SET verb='forged'")
child = os.fork()
if not child:
    connection = sqlite3.connect(work, isolation_level=None)
    connection.execute("PRAGMA cache_size=1")
    connection.execute("PRAGMA cache_spill=1")
    connection.execute("BEGIN")
    connection.execute("UPDATE heading SET verb='other'")
    for number in range(50):
        connection.execute("INSERT INTO record(kind,packed,block) VALUES('x',0,randomblob(5000))")
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
connection.close
os.rename(work + "-journal", journal)
os.unlink(work)
os._exit(0)
"""
MAGIC = bytes.fromhex("d9d505f920a163d7")


def made(directory: Path) -> Path:
    """A ledger of this user's."""
    path = directory / "ledger"
    ledger = open_new(os.fsencode(path), heading())
    ledger.end(checkpoint(1), 75)
    return path


def forged(ledger: Path, journal: Path, removes: Path | None = None) -> None:
    """Have the attacker make a journal. removes: a file that SQLite is to remove, named as a journal of databases."""
    done = subprocess.run(
        [_python(), "-c", FORGE, ledger, journal], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    if removes is not None:
        name = os.fsencode(removes)
        with journal.open("ab") as file:
            sizes = len(name).to_bytes(4, "big") + (sum(name) % 2**32).to_bytes(4, "big")
            file.write((0x40000000 // 4096 + 1).to_bytes(4, "big") + name + sizes + MAGIC)


def _python() -> str:
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def verb(path: Path) -> str:
    """What SQLite reads, as a program does that opens the file."""
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("SELECT verb FROM heading").fetchone()[0])
    finally:
        connection.close()


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


OPEN: dict[str, Callable[[Path], None]] = {
    "it is the other user's": lambda place: os.chown(place, NOBODY, NOBODY),
    "all may write to it": lambda place: place.chmod(0o777),
    "it is sticky": lambda place: place.chmod(0o1777),
    "its group may write to it": lambda place: (os.chown(place, 0, NOBODY), place.chmod(0o775))[0],
}


@needs_root
@pytest.mark.parametrize("why", OPEN)
def test_a_journal_that_another_user_put_beside_a_ledger_is_not_played_back(why: str, on_tmpfs: Path) -> None:
    place = on_tmpfs / "place"
    place.mkdir()
    path = made(place)
    OPEN[why](place)
    forged(path, place / "ledger-journal")
    shutil.copytree(place, on_tmpfs / "naive")
    assert verb(on_tmpfs / "naive/ledger") == "forged", "the attack bites"
    before = content(place)
    with pytest.raises(FatalError, match=r"cannot be there: .* so its journal could be forged") as refused:
        resume_ledger(os.fsencode(path), heading())
    assert "mkdir -m 700" in refused.value.remedy
    with pytest.raises(FatalError, match="cannot be there"):
        open_new(os.fsencode(place / "new"), heading())
    assert read(os.fsencode(path)).verb == "copy", "nor by --status, which reads it without the other's journal"
    assert content(place) == before
    # The remedy alone does not do: what was put there lies there still.
    os.chown(place, 0, 0)
    place.chmod(0o755)
    with pytest.raises(FatalError, match="ledger-journal, which SQLite would trust, is not this user's alone"):
        resume_ledger(os.fsencode(path), heading())
    assert content(place) == before
    (place / "ledger-journal").unlink()
    resume_ledger(os.fsencode(path), heading())[0].end(None, 0)
    assert verb(path) == "copy"


@needs_root
def test_nor_is_one_from_a_directory_that_another_user_exchanges_for_the_ledgers(on_tmpfs: Path) -> None:
    """The directory itself is root's; the one above is not."""
    above = on_tmpfs / "above"
    (above / "place").mkdir(parents=True)
    path = made(above / "place")
    os.chown(above, NOBODY, NOBODY)
    with pytest.raises(FatalError, match=rf"another user \(uid 65534\) owns {above}"):
        resume_ledger(os.fsencode(path), heading())
    with pytest.raises(FatalError, match="cannot be there"):
        open_new(os.fsencode(above / "place/new"), heading())
    # In a sticky directory of root's the name belongs to who has it.
    os.chown(above, 0, 0)
    above.chmod(0o1777)
    resume_ledger(os.fsencode(path), heading())[0].end(None, 0)
    os.chown(above / "place", NOBODY, NOBODY)
    with pytest.raises(FatalError, match="cannot be there"):
        resume_ledger(os.fsencode(path), heading())


@needs_root
def test_a_ledger_is_not_made_of_an_empty_file_behind_the_link_of_another_user(on_tmpfs: Path) -> None:
    (on_tmpfs / "u").mkdir()
    (on_tmpfs / "empty").touch()
    (on_tmpfs / "u/link").symlink_to(on_tmpfs / "empty")
    os.chown(on_tmpfs / "u/link", NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(FatalError, match="behind a symlink of another user") as refused:
        open_new(os.fsencode(on_tmpfs / "u/link"), heading())
    assert "name that" in refused.value.remedy and os.fsdecode(on_tmpfs / "empty") in refused.value.remedy
    assert (on_tmpfs / "empty").stat().st_size == 0
    os.chown(on_tmpfs / "u/link", 0, 0, follow_symlinks=False)
    open_new(os.fsencode(on_tmpfs / "u/link"), heading()).end(None, 0)
    assert verb(on_tmpfs / "empty") == "copy", "one's own links do"


@needs_root
def test_a_ledger_with_a_second_name_is_not_trusted(on_tmpfs: Path) -> None:
    path = made(on_tmpfs)
    os.link(path, on_tmpfs / "other")
    with pytest.raises(FatalError, match="has 2 names"):
        resume_ledger(os.fsencode(path), heading())


@needs_root
def test_status_removes_no_file_that_a_journal_names_and_writes_nothing(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = on_tmpfs / "u"
    place.mkdir()
    path = made(place)
    for each in (place, path):
        os.chown(each, NOBODY, NOBODY)
    for name in ("victim", "naive-victim", "copied-victim"):
        (on_tmpfs / name).write_text("precious")
    forged(path, place / "ledger-journal", on_tmpfs / "naive-victim")
    shutil.copytree(place, on_tmpfs / "naive")
    verb(on_tmpfs / "naive/ledger")
    assert not (on_tmpfs / "naive-victim").exists(), "the attack bites"
    (place / "ledger-journal").unlink()
    forged(path, place / "ledger-journal", on_tmpfs / "victim")
    before = content(place)
    shown = run(["--status", path], flavour="plain")
    assert shown.returncode == 0, shown
    assert shown.stdout.startswith("forged: "), "what its owner says, from a copy in which the journal was played back"
    assert (on_tmpfs / "victim").read_text() == "precious"
    assert content(place) == before
    # Nor would a copy alone do.
    (place / "ledger-journal").unlink()
    forged(path, place / "ledger-journal", on_tmpfs / "copied-victim")
    monkeypatch.setattr(reader, "_NO_SUPER_JOURNAL", b"")
    read(os.fsencode(path))
    assert not (on_tmpfs / "copied-victim").exists()


@needs_root
def test_a_closed_directory_of_ones_own_below_a_sticky_one_will_do(on_tmpfs: Path) -> None:
    on_tmpfs.chmod(0o1777)
    (on_tmpfs / "mine").mkdir(mode=0o700)
    made(on_tmpfs / "mine")
    with pytest.raises(FatalError, match=f"all may write to {on_tmpfs}") as refused:
        made(on_tmpfs)
    assert f"chmod go-w {on_tmpfs}" in refused.value.remedy


def test_views_and_triggers_of_others_do_not_run(tmp_path: Path) -> None:
    path = made(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE note")
    endless = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x AS id, x AS path, x AS note FROM c"
    )
    connection.execute(f"CREATE VIEW note AS {endless}")
    connection.commit()
    connection.close()
    with pytest.raises(FatalError, match="damaged: it has other tables"):
        read(os.fsencode(path))
    with pytest.raises(FatalError, match="damaged: it has other tables"):
        resume_ledger(os.fsencode(path), heading())

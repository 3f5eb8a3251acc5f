"""Whatever is in a ledger: it is shown, in lines that a terminal only shows, or refused in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcp_mpi.cli.status import show
from hpcp_mpi.ledger import opening, reader
from hpcp_mpi.ledger.writer import open_new, resume_ledger
from hpcp_mpi.vocab.errors import FatalError
from tests.ledger.making import checkpoint, heading
from tests.support.effort import many

HOSTILE = "\x1b]0;owned\x07\x1b[2Jdone\r\nstate: ended, exit code 0: success\u202e\x9b31m"
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 1, -1, 2**63 - 1, 10**12, 1e300, float("inf"), float("-inf"), -0.5, "", b"", "running", 75]),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.just(HOSTILE),
    st.just(HOSTILE.encode()),
    st.just(HOSTILE.encode() + b"\xff\0"),
)
COLUMNS = {
    "heading": "verb sources destination command fingerprint started unlocked",
    "run": "run started host pid pid_started place job version command state alive ended exit_code",
    "checkpoint": "run at phase seconds linked scan_done chunks steals messages sample_seconds sample_files "
    "sample_bytes sample_active sample_ranks state",
    "tally": "name files directories links specials bytes",
    "rank": "run rank node slots state files bytes chunks granted stolen busy",
    "todo": "source source_dir dest_dir deep seen",
    "record": "kind packed block",
    "failure": "run path reason vanished files directories links specials bytes",
    "note": "path note",
    "sample": "run seconds files bytes active ranks",
}
PLACES = [(table, column) for table, columns in COLUMNS.items() for column in columns.split()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "ledger"
    first = open_new(os.fsencode(path), heading())
    first.checkpoint(checkpoint(1))
    first.end(checkpoint(2), 75)
    second, _ = resume_ledger(os.fsencode(path), heading())
    second.end(checkpoint(3), 23)
    return path


def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is shown of a ledger or said of it."""
    report = path.with_name("report.json")
    try:
        assert show(os.fsencode(path), report) == 0
        json.loads(report.read_text(), parse_constant=lambda constant: pytest.fail(constant))
        text = capsys.readouterr().out
    except FatalError as error:
        capsys.readouterr()
        text = str(error)
    assert all(line.isprintable() for line in text.split("\n")), text
    assert "\nstate: ended, exit code 0" not in text
    return text


def resumed(path: Path) -> str:
    """What is said of a ledger that a run is to resume from."""
    try:
        ledger, saved = resume_ledger(os.fsencode(path), heading())
    except FatalError as error:
        return error.message
    try:
        for blocks in saved.records.values():
            list(blocks)
    except FatalError as error:
        return error.message
    finally:
        ledger.close()
    return ""


def changed(path: Path, table: str, column: str, value: Any) -> bool:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"UPDATE {table} SET {column}=?", (value,))
        return True
    except (sqlite3.Error, UnicodeEncodeError):
        return False  # as two rows with one key
    finally:
        connection.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE", -1.0)
    monkeypatch.setattr(reader, "PATIENCE", -1.0)


@settings(max_examples=many(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_any_value_in_any_column_is_shown_or_refused_in_a_sentence(
    whole: Path, on_tmpfs: Path, capsys: pytest.CaptureFixture[str], soon: None, changes: list[Any]
) -> None:
    path = on_tmpfs / "ledger"
    shutil.copyfile(whole, path)
    for (table, column), value in changes:
        changed(path, table, column, value)
    shown(path, capsys)
    assert "Traceback" not in resumed(path)


@settings(max_examples=many(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6), st.data())
def test_any_damage_is_told_of_in_a_sentence(
    whole: Path, on_tmpfs: Path, capsys: pytest.CaptureFixture[str], soon: None, damage: list[Any], data: st.DataObject
) -> None:
    path = on_tmpfs / "ledger"
    content = bytearray(whole.read_bytes())
    for at, noise in damage:
        at %= len(content)
        content[at : at + len(noise)] = noise
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path.write_bytes(content)
    shown(path, capsys)
    resumed(path)
    path.with_name("ledger-journal").unlink(missing_ok=True)


@pytest.mark.parametrize("table", sorted(COLUMNS))
def test_what_every_run_has_is_missing(
    table: str, whole: Path, on_tmpfs: Path, capsys: pytest.CaptureFixture[str], soon: None
) -> None:
    path = on_tmpfs / "ledger"
    shutil.copyfile(whole, path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"DELETE FROM {table}")
    connection.close()
    assert ("a row is missing" in shown(path, capsys)) == (table in ("heading", "run"))
    assert ("a row is missing" in resumed(path)) == (table in ("heading", "run"))


def test_the_texts_of_a_ledger_are_lines_without_escape_sequences(
    whole: Path, on_tmpfs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them at once; and what a program reads of them is as it was."""
    texts = {"run": ["host", "job", "version"], "heading": ["verb"], "checkpoint": ["phase"], "rank": ["node"]}
    texts |= {"failure": ["reason"], "note": ["note"]}
    path = on_tmpfs / "ledger"
    shutil.copyfile(whole, path)
    for table, columns in texts.items():
        for column in columns:
            assert changed(path, table, column, HOSTILE)
    changed(path, "failure", "path", HOSTILE.encode())
    text = shown(path, capsys)
    assert text.count("\\x1b]0;owned\\x07\\x1b[2Jdone\\x0d\\nstate: ended, exit code 0: success\\xe2\\x80\\xae") >= 8
    report = json.loads(path.with_name("report.json").read_text())
    assert report["runs"][0]["host"] == HOSTILE and report["phase"] == HOSTILE

"""The report for programs: its schema in every verb, on standard output, and of runs that could not begin."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hpcp_mpi import __version__
from hpcp_mpi.ledger.writer import open_new
from hpcp_mpi.vocab.report import Report
from tests.ledger.making import checkpoint, heading
from tests.support import reports
from tests.support.copies import PLAIN
from tests.support.launch import World
from tests.support.trees import Dir, File, Symlink, build

TREE = {"a": File(b"a" * 100), "d": Dir({"b": File(b"b"), "l": Symlink("b")}), "e": Dir()}


def told(*words: object, code: int = 0, world: World = PLAIN, **setting: Any) -> dict[str, Any]:
    """The report of a run with `--json -`, of which standard output has nothing else."""
    done = world.run(["--json", "-", *map(str, words)], **setting)
    assert done.returncode == code, str(done)
    assert "found " in done.stderr or code in (1, 2), "the table is on standard error"
    return reports.check(json.loads(done.stdout))


@pytest.mark.parametrize(
    "words",
    [
        "-n src dst", "-v --verify src dst", "-rme -rf src dst", "-rm -rf src -d dst", "-sfl list src -d dst",
        "src/a src/d -d dst -d dst2", "-cfl src dst", "-fl names src", "-cfl -sfl names -fl same", "-rm -rf src",
    ],
)  # fmt: skip
def test_every_verb_is_as_the_schema_says_and_adds_up(words: str, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    build(on_tmpfs / "dst", {"a": File(b"other"), "extra": File(b"extra")})
    (on_tmpfs / "list").write_text("a\nd/b\n")
    for name in ("names", "same"):
        (on_tmpfs / name).write_text("a:\nd/\n")
    report = told(*words.split(), cwd=on_tmpfs, code=3 if words == "-cfl src dst" else 0)
    assert report["tool"] == "hpcp-mpi" and report["version"] == __version__
    assert report["command"] == ["hpcp-mpi", "--json", "-", *words.split()]
    assert report["host"] == os.uname().nodename and report["user"] and report["processes"] == 1
    assert (report["mirror"], report["move"]) == ("-rme" in words, "-rm " in words and "-d" in words.split())
    began = datetime.strptime(report["started"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
    assert abs(began - report["started_seconds"]) < 0.01 and 0 <= time.time() - report["ended_seconds"] < 60
    assert report["started_seconds"] <= report["ended_seconds"] - report["seconds"] + 0.1
    if words != "-n src dst" and "-cfl" not in words:
        assert (report["failure_count"], report["exit_code"], report["ending"]) == (0, 0, "success")


def test_ranks_and_jobs_are_in_it(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    report = told("src", "dst", cwd=on_tmpfs, world=World("mpich", 3))
    assert report["processes"] == 3 and [each["rank"] for each in report["ranks"]] == [1, 2]


def test_what_cannot_begin_is_told_as_well(on_tmpfs: Path) -> None:
    report = told("nothing", "dst", cwd=on_tmpfs, code=1)
    assert report["exit_code"] == 1 and "nothing" in report["error"]["message"]
    (on_tmpfs / "report").write_text("old")
    done = PLAIN.run(["--json", "report", "nothing", "dst"], cwd=on_tmpfs)
    assert done.returncode == 1 and json.loads((on_tmpfs / "report").read_text())["error"], "not that of an earlier run"


def test_a_report_that_is_refused_is_not_written_where_it_must_not_be(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"src": Dir(TREE), "dst": Dir({"precious.json": File(b"precious")})})
    done = PLAIN.run(["-rme", "-rf", "--json", "dst/precious.json", "src", "dst"], cwd=on_tmpfs)
    assert done.returncode == 2 and (on_tmpfs / "dst/precious.json").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "words, says",
    [
        ("--json - -fl - src", "both are standard output"),
        ("--json= src dst", "the name of the file is empty"),
        ("--failed - src dst", "names of files go to a file"),
        ("--failed same --json same src dst", "name the same file"),
        ("--status x --failed f", "--failed is for runs"),
    ],
)
def test_what_contradicts_itself_is_refused(words: str, says: str, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", TREE)
    done = PLAIN.run(words.split(), cwd=on_tmpfs)
    assert done.returncode == 2 and re.search(says, done.stderr), str(done)
    assert sorted(path.name for path in on_tmpfs.iterdir()) == ["src"]


def test_the_status_of_a_run_has_the_words_of_its_report(tmp_path: Path) -> None:
    open_new(os.fsencode(tmp_path / "ledger"), heading()).end(checkpoint(1), 75)
    done = PLAIN.run(["--status", tmp_path / "ledger", "--json", "-"]).check()
    status = reports.check(json.loads(done.stdout))
    assert done.stderr == "" and status["state"] == "stopped" and status["resume"][1] == "--resume"
    schema = json.loads(reports.SCHEMA.read_text())["$defs"]
    both = schema["report"]["properties"].keys() & schema["status"]["properties"].keys()
    assert {"found", "copied", "metadata_only", "identical", "failed", "left", "started", "command", "resume"} <= both


def test_the_schema_refuses_what_it_does_not_know() -> None:
    good = Report().as_dict()
    reports.check(good)
    for bad in ({**good, "scanned": 1}, {**good, "exit_code": "0"}, {key: good[key] for key in good if key != "found"}):
        with pytest.raises(jsonschema.ValidationError):
            reports.check(bad)

"""What is printed at the end, and what machines get."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpcp_mpi import __version__
from hpcp_mpi.cli.command_line import parse
from hpcp_mpi.cli.end_table import table
from hpcp_mpi.cli.json_report import check_json, write_json
from hpcp_mpi.cli.log import Log
from hpcp_mpi.cli.report import first_line, item_lines, last_line, problem_lines
from hpcp_mpi.rules.excludes import from_lines
from hpcp_mpi.vocab.errors import Failure, FatalError
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.report import RankShare, Report
from hpcp_mpi.vocab.tally import Tally, one_file
from tests.support.launch import run


def failing(counts: dict[str, int]) -> list[Failure]:
    return [Failure(b"/s/%s%d" % (why.encode(), at), why) for why, count in counts.items() for at in range(count)]


def test_five_failures_of_a_kind_are_printed_in_full_and_the_rest_counted() -> None:
    lines = list(problem_lines(Report(outcome=Outcome(failures=failing({"EIO": 5, "EACCES": 1206})))))
    assert lines[:5] == [f"failed: /s/EIO{at}: EIO" for at in range(5)]
    assert lines[5:10] == [f"failed: /s/EACCES{at}: EACCES" for at in range(5)]
    assert lines[10:] == ["failed: … and 1,201 more: EACCES (--json lists all)"]


def test_notes_are_grouped_likewise_after_the_failures_and_names_are_escaped() -> None:
    notes = [(b"/s/so\nck%d" % at, "a socket") for at in range(6)]
    lines = list(problem_lines(Report(outcome=Outcome(failures=failing({"EIO": 1}), notes=notes))))
    assert lines[0] == "failed: /s/EIO0: EIO"
    assert lines[1] == r"note: /s/so\nck0: a socket"
    assert lines[-1] == "note: … and 1 more: a socket (--json lists all)"


def test_changes_are_listed_by_path_with_link_targets() -> None:
    items = [
        (">f+++++++++", b"b\n", b""),
        ("cL+++++++++", b"a", b"to\t"),
        ("hf+++++++++", b"c", b"b"),
        ("cd+++++++++", b"./", b""),
    ]
    assert list(item_lines(sorted(items, key=lambda item: item[1]))) == [
        "cd+++++++++ ./", r"cL+++++++++ a -> to\t", r">f+++++++++ b\n", "hf+++++++++ c => b",
    ]  # fmt: skip


def test_the_table_shows_what_was_found_copied_and_who_did_it() -> None:
    report = Report(
        scanned=Tally(12_345, 6, 7, 8, 3 << 30),
        outcome=Outcome(copied=Tally(1_000, 5, 4, 3, 1 << 30), skipped=Tally(files=11_345), linked=2),
        ranks=[RankShare(1, "node1", 4, Tally(1_000, bytes=1 << 30), chunks=9, stolen=2, seconds=20.0)],
        chunks=9, steals=2, messages=30, seconds=10.0, scan_seconds=1.0,
    )  # fmt: skip
    summary, *lines = table(report).splitlines()
    assert summary == "copy: 1,000 files copied (1.00 GiB), 9 entries left"
    assert lines[0].split() == ["files", "directories", "links", "other", "bytes"]
    assert lines[1].split() == ["found", "12,345", "6", "7", "8", "3.00", "GiB"]
    assert lines[2].split() == ["copied", "1,000", "5", "4", "3", "1.00", "GiB"]
    assert [line.index(" 1,000") + 6 for line in lines[2:3]] == [lines[1].index("12,345") + 6], "columns line up"
    assert "hard links made: 2" in lines
    assert "time: 10.0s (scan 1.0s)   average: 102.40 MiB/s, 100 files/s" in lines
    assert not any(word in line for line in lines for word in ("chunk", "steal", "message", "busy")), "machinery"
    assert table(report, verbose=True).splitlines()[-2:] == [
        "rank 1 on node1: 1,000 files, 1.00 GiB, busy 50 %, 9 chunks (2 stolen), 4 slots",
        "chunks: 9   steals: 2   messages: 30",
    ]


def rows(report: Report) -> list[str]:
    """The names of the rows that are shown."""
    names = ("found", "copied", "would copy", "metadata only", "identical", "kept")
    every = (*names, "removed", "would remove", "verified", "differences")
    return [name for line in table(report).splitlines() for name in every if line.startswith((f"{name}  ", f"{name}:"))]


ONE = Tally(files=1)


@pytest.mark.parametrize(
    "report, shown",
    [
        (Report(), ["found", "copied", "identical"]),
        (
            Report(outcome=Outcome(updated=ONE, verified=ONE)),
            ["found", "copied", "metadata only", "identical", "verified"],
        ),
        (Report(outcome=Outcome(removed=ONE)), ["found", "copied", "identical", "removed"]),
        (Report(dry_run=True, outcome=Outcome(removed=ONE)), ["found", "would copy", "identical", "would remove"]),
        (Report("remove"), ["found", "removed"]),
        (Report("remove", dry_run=True), ["found", "would remove"]),
        (Report("remove", outcome=Outcome(removed=ONE, skipped=ONE)), ["found", "kept", "removed"]),
        (Report("list"), ["found"]),
        (Report("compare", dry_run=True, differences={"added": 1}), ["found", "identical", "differences"]),
    ],
)
def test_each_verb_has_the_rows_that_it_is_about_and_no_others(report: Report, shown: list[str]) -> None:
    assert rows(report) == shown


def test_bytes_that_nobody_counted_are_not_shown_as_zero() -> None:
    removed = Report("remove", scanned=Tally(3, 2), outcome=Outcome(removed=Tally(3, 2)))
    lines = table(removed).splitlines()[1:]
    assert lines[0].split()[-1] == "other" and "B" not in lines[2]
    mirrored = table(Report(scanned=Tally(files=3, bytes=9), outcome=Outcome(removed=Tally(3, 2)))).splitlines()[1:]
    assert mirrored[1].endswith("9 B") and mirrored[4].split() == ["left", "3", "0", "0", "0", "9", "B"]
    assert mirrored[5].split() == ["removed", "3", "2", "0", "0"]


@pytest.mark.parametrize(
    "report, rate",
    [
        (Report("remove", seconds=2.0, outcome=Outcome(removed=Tally(10, 4))), "7 entries/s"),
        (Report("list", seconds=2.0, scanned=Tally(10, 4)), "7 entries/s"),
        (Report("compare", seconds=2.0, scan_seconds=1.0, scanned=Tally(10, 4)), "7 entries/s"),
    ],
)
def test_where_nothing_is_copied_the_rate_is_that_of_entries(report: Report, rate: str) -> None:
    text = table(report)
    assert f"average: {rate}" in text and "B/s" not in text
    assert ("(scan" in text) == bool(report.scan_seconds) and "hard links" not in text


@pytest.mark.parametrize(
    "since, words", [(None, "2.0s"), (0.0, "2.0s, shared out"), (0.4, "2.0s, shared out from 0.4s on")]
)
def test_the_table_and_the_report_say_since_when_listing_was_shared_out(since: float | None, words: str) -> None:
    report = Report(seconds=9.0, scan_seconds=2.0, listed_by_all=since)
    assert f"time: 9.0s (scan {words})" in table(report).splitlines()
    assert report.as_dict()["listed_by_all"] == since


def test_the_ranks_of_other_verbs_are_not_said_to_have_copied_nothing() -> None:
    share = RankShare(1, "node1", 4, chunks=9, stolen=2, seconds=20.0)
    text = table(Report("remove", ranks=[share], seconds=10.0), verbose=True)
    assert "\nrank 1 on node1: busy 50 %, 9 chunks (2 stolen), 4 slots\n" in text


def test_a_dry_run_says_would_and_has_no_rate() -> None:
    text = table(Report(dry_run=True, seconds=2.0))
    assert text.splitlines()[0] == "dry run: copy: nothing to copy"
    assert text.splitlines()[3].startswith("would copy ")
    assert text.endswith("\ntime: 2.0s") and "average" not in text


def test_no_link_is_said_to_be_made_that_is_not() -> None:
    assert "hard links made: 2" in table(Report(outcome=Outcome(linked=2)))
    assert "would make hard links: 2" in table(Report(dry_run=True, outcome=Outcome(linked=2)))
    assert "hard links" not in table(Report("compare", dry_run=True, outcome=Outcome(linked=2)))


def test_one_of_a_kind_is_not_many() -> None:
    share = RankShare(1, "n", 1, Tally(files=1), chunks=1, stolen=0, seconds=1.0)
    text = table(Report(ranks=[share], seconds=1.0), verbose=True)
    assert "\nrank 1 on n: 1 file, 0 B, busy 100 %, 1 chunk (0 stolen), 1 slot\n" in text


def test_of_many_ranks_the_busiest_sixteen_are_shown() -> None:
    report = Report(ranks=[RankShare(rank, "n", 1, seconds=rank) for rank in range(1, 41)], seconds=40.0)
    lines = [line for line in table(report).splitlines() if line.startswith("rank ")]
    assert [line.split()[1] for line in lines] == [str(rank) for rank in range(40, 24, -1)]
    assert table(report).endswith("\n… and 24 more ranks, less busy than these (--json lists all)")


@pytest.mark.parametrize("found, failures", [(Tally(files=3, directories=2), 3), (Tally(files=1), 2)])
def test_the_table_and_the_last_line_say_the_same_number_of_failures(found: Tally, failures: int) -> None:
    report = Report("remove", scanned=found, outcome=Outcome(failures=failing({"EIO": failures})))
    said = f"{max(found.entries, failures)} entries failed"
    assert said in table(report).splitlines()[0] and said in last_line(report)


def test_what_has_no_room_is_as_many_bytes_as_in_the_table_where_names_are_of_one_file() -> None:
    failures = [Failure(b"/s/" + name, "No space left on device", attempted=one_file(7 << 20)) for name in (b"a", b"b")]
    report = Report(destination=b"/d", scanned=Tally(files=2, bytes=7 << 20), outcome=Outcome(failures=failures))
    assert "failed: 2 entries (7.00 MiB) for lack of room there" in list(problem_lines(report))


@pytest.mark.parametrize(
    "report, line",
    [
        (Report(), "hpcp-mpi: done: nothing to copy in 0.0s"),
        (
            Report(seconds=67.0, outcome=Outcome(copied=Tally(files=62_321, directories=9, bytes=3_984_588 << 10))),
            "hpcp-mpi: done: 62,321 files, 3.80 GiB in 1m07s",
        ),
        (
            Report(outcome=Outcome(copied=Tally(directories=2), updated=ONE, removed=ONE)),
            "hpcp-mpi: done: 2 entries copied, metadata of 1 entry, 1 entry removed in 0.0s",
        ),
        (Report("remove"), "hpcp-mpi: done: nothing removed in 0.0s"),
        (Report("list", scanned=Tally(files=1_200)), "hpcp-mpi: done: 1,200 entries listed in 0.0s"),
        (Report(outcome=Outcome(failures=failing({"EIO": 1234}))), "hpcp-mpi: 1,234 entries failed (exit code 23)"),
        (
            Report("remove", scanned=Tally(files=3, directories=2), outcome=Outcome(failures=failing({"EIO": 3}))),
            "hpcp-mpi: 5 entries failed (exit code 23)",  # directories have no reason of their own
        ),
        (
            Report(outcome=Outcome(failures=[Failure(b"/g", "", True)])),
            "hpcp-mpi: 1 entry vanished after it was listed (exit code 24)",
        ),
        (Report(dry_run=True), "hpcp-mpi: dry run: nothing was changed"),
        (Report("compare", dry_run=True, differences={"added": 0, "modified": 0}), "hpcp-mpi: no differences"),
        (
            Report("compare", dry_run=True, differences={"added": 1200, "modified": 0, "deleted": 3}),
            "hpcp-mpi: they differ: 1,200 added, 3 deleted (exit code 3)",
        ),
        (
            Report("compare", differences={"added": 1}, outcome=Outcome(failures=failing({"EIO": 2}))),
            "hpcp-mpi: 2 entries failed (exit code 23)",
        ),
        (
            Report("remove", stopped=25),
            "hpcp-mpi: more entries to remove than --max-delete allows; none was removed (exit code 25)",
        ),
        (Report("remove", declined=True), "hpcp-mpi: nothing was removed: not confirmed"),
        (Report(stopped=130), "hpcp-mpi: interrupted from the keyboard (exit code 130)"),
        (
            Report(stopped=75),
            "hpcp-mpi: stopped early by a signal; run the same command again to resume (exit code 75)",
        ),
    ],
)
def test_the_last_line_says_how_it_ended(report: Report, line: str) -> None:
    assert last_line(report) == line


def test_the_json_report_replaces_an_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    report = Report(destination=b"/d\xff", outcome=Outcome(failures=failing({"EIO": 7})))
    write_json(report, path)
    assert json.loads(path.read_text()) == report.as_dict()
    assert len(json.loads(path.read_text())["failures"]) == 7, "all of them, not five"
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_written_is_fatal_and_named(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match=r"cannot write the report to .*r\.json: No such file or directory"):
        write_json(Report(), tmp_path / "gone" / "r.json")


@pytest.mark.parametrize("where", ["gone/r.json", ".", "pipe", "/dev/stdout", "/dev/null"])
def test_where_no_report_can_be_written_is_found_out_before_the_work(where: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FatalError, match="cannot write the report to"):
        check_json(tmp_path / where)


@pytest.mark.parametrize("where", ["new.json", "old.json"])
def test_where_one_can_be_written_nothing_is_made_to_find_out(where: str, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    check_json(tmp_path / where)
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"] and (tmp_path / "old.json").read_text() == "old"


def test_no_work_is_begun_if_its_report_has_no_place(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    done = run(["--json", tmp_path / "gone/r.json", tmp_path / "src", tmp_path / "dst"], flavour="plain")
    assert done.returncode == 1 and f"there is no directory {tmp_path}/gone" in done.stderr
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("options", [["-n"], ["-v"], ["-cfl"]])
def test_where_lines_are_listed_standard_output_has_nothing_else(options: list[str], tmp_path: Path) -> None:
    for name in ("src", "dst"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1, 1))
    done = run([*options, tmp_path / "src", tmp_path / "dst"], flavour="plain")
    assert "Deleted" in done.stdout or done.stdout == ""
    assert "found " not in done.stdout and "found " in done.stderr
    plain = run([tmp_path / "src", tmp_path / "dst"], flavour="plain").check()
    assert "found " in plain.stdout, "and elsewhere it has the table"


@pytest.mark.parametrize("say", [lambda: Log().say("news"), lambda: Log().complain(FatalError("no", "do"))])
def test_a_log_line_is_written_in_one_piece(say: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=written.append, flush=lambda: None))
    say()
    assert len(written) == 1 and written[0].endswith("\n")


def test_failures_in_many_directories_are_one_kind_if_they_end_alike() -> None:
    reason = "cannot write to /dst/d{}: Input/output error"
    report = Report(outcome=Outcome(failures=[Failure(b"/src/d%d/f" % n, reason.format(n)) for n in range(300)]))
    lines = list(problem_lines(report))
    assert len(lines) == 6
    assert lines[0] == "failed: /src/d0/f: cannot write to /dst/d0: Input/output error"
    assert lines[-1] == "failed: … and 295 more: Input/output error (--json lists all)"


@pytest.mark.parametrize(
    "words, line",
    [
        ("src dst", "src -> dst, 4 ranks (1 coordinates, 3 copy)"),
        ("-n src dst", "dry run: src -> dst, 4 ranks (1 coordinates, 3 copy)"),
        ("a b c d e f dst", "a b c d e and 1 more -> dst, 4 ranks (1 coordinates, 3 copy)"),
        ("src -d one -d two", "src -> one two, 4 ranks (1 coordinates, 3 copy)"),
        ("-rme src dst", "mirror src -> dst, 4 ranks (1 coordinates, 3 copy)"),
        ("-rm src -d dst", "move src -> dst, 4 ranks (1 coordinates, 3 copy)"),
        ("-rm -rme -n src -d dst", "dry run: mirror and move src -> dst, 4 ranks (1 coordinates, 3 copy)"),
        ("-rm src", "remove src, 4 ranks (1 coordinates, 3 remove)"),
        ("-fl list src", "list src -> list, 4 ranks (1 coordinates, 3 list)"),
        ("-cfl src dst", "compare src with dst, 4 ranks (1 coordinates, 3 compare)"),
        ("-cfl src -fl list", "compare src with list, 4 ranks (1 coordinates, 3 compare)"),
        ("-sfl list base -d dst", "what list lists in base -> dst, 4 ranks (1 coordinates, 3 copy)"),
        ("-sfl - -d dst", "what standard input lists -> dst, 4 ranks (1 coordinates, 3 copy)"),
        ("-fl - src", "list src -> standard output, 4 ranks (1 coordinates, 3 list)"),
        ("-cfl src -fl -", "compare src with standard input, 4 ranks (1 coordinates, 3 compare)"),
    ],
)
def test_the_first_line_says_what_is_about_to_be_done(words: str, line: str) -> None:
    request = parse(words.split(), from_lines).request
    assert first_line(request, 4) == f"hpcp-mpi {__version__}: {line}"

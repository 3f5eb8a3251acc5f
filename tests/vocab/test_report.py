"""Counts of a report add up, and its content determines the exit code."""

from __future__ import annotations

import json

import pytest

from hpcp_mpi.vocab.errors import Failure, FatalError, UsageError, failure_of
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.report import RankShare, Report
from hpcp_mpi.vocab.tally import Tally, one_file

GONE = Failure(b"/s/gone", "No such file or directory", vanished=True)
DENIED = Failure(b"/s/denied", "Permission denied", attempted=one_file(9))


@pytest.mark.parametrize(
    "failures, stopped, code",
    [([], 0, 0), ([GONE], 0, 24), ([DENIED], 0, 23), ([GONE, DENIED], 0, 23), ([], 75, 75), ([DENIED], 130, 130)],
)
def test_the_exit_code_follows_from_the_failures_unless_the_run_was_stopped(
    failures: list[Failure], stopped: int, code: int
) -> None:
    assert Report(outcome=Outcome(failures=failures), stopped=stopped).exit_code == code


def test_outcomes_add_up() -> None:
    total = Outcome(copied=one_file(3), seconds=1.0, touched={(0, b"a", b"b")})
    more = Outcome(
        copied=one_file(4), updated=one_file(1), skipped=one_file(2), linked=2, failures=[GONE],
        notes=[(b"/s/n", "why")], items=[(">f", b"x", b"")], touched={(1, b"", b"")}, seconds=0.5,
    )  # fmt: skip
    total.add(more)
    assert total == Outcome(
        copied=Tally(files=2, bytes=7), updated=one_file(1), skipped=one_file(2), linked=2, failures=[GONE],
        notes=[(b"/s/n", "why")], items=[(">f", b"x", b"")], touched={(0, b"a", b"b"), (1, b"", b"")}, seconds=1.5,
    )  # fmt: skip


def test_a_report_is_json_with_every_name_escaped() -> None:
    report = Report(
        sources=[b"/s\n"], destination=b"/d\xff", outcome=Outcome(failures=[DENIED, GONE]), ranks=[RankShare(1, "n", 4)]
    )
    read = json.loads(json.dumps(report.as_dict()))
    assert read["sources"] == [r"/s\n"] and read["destination"] == r"/d\xff"
    assert read["exit_code"] == 23 and read["failure_count"] == 2
    assert read["failures"][1] == {"path": "/s/gone", "reason": "No such file or directory", "vanished": True}
    assert read["ranks"][0]["rank"] == 1 and read["ranks"][0]["slots"] == 4


@pytest.mark.parametrize("number, vanished", [(2, True), (116, False), (13, False), (5, False)])
def test_what_is_gone_is_told_from_what_failed(number: int, vanished: bool) -> None:
    failure = failure_of(b"/s/x", OSError(number, "words"), "cannot list")
    assert failure == Failure(b"/s/x", "cannot list: words", vanished)


def test_a_fatal_error_says_what_and_then_what_to_do() -> None:
    assert str(FatalError("it broke", "mend it")) == "it broke\n  mend it"
    assert str(FatalError("it broke")) == "it broke"
    assert (FatalError("").exit_code, UsageError("").exit_code) == (1, 2)


def test_what_a_lost_rank_had_done_and_another_did_again_is_counted_once() -> None:
    def report(lost: str) -> Report:
        done = Outcome(copied=Tally(files=8, bytes=80), skipped=Tally(files=3, bytes=30))
        ranks = [RankShare(1, "n", 4), RankShare(2, "n", 4, lost=lost)]
        return Report(scanned=Tally(files=9, bytes=90), outcome=done, ranks=ranks)

    lossy, whole = report("is unreachable"), report("")
    lossy.count_once()
    whole.count_once()
    assert lossy.found == Tally(files=9, bytes=90)
    assert lossy.outcome.copied == Tally(files=8, bytes=80) and lossy.outcome.skipped == one_file(10)
    assert whole.outcome.skipped == Tally(files=3, bytes=30), "without a lost rank files grew, or came"

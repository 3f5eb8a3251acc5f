"""Lines of progress, for logs."""

from __future__ import annotations

import io
import re

import pytest

from hpcp_mpi.cli import progress
from hpcp_mpi.cli.progress import Lines, done_entries, line, remaining, words
from hpcp_mpi.operations.crew import Status
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.report import Outcome
from hpcp_mpi.vocab.tally import Tally

OUTCOME = Outcome(copied=Tally(files=1000, bytes=10 << 20), skipped=Tally(files=2000), updated=Tally(links=5))


def status(scan_done: bool = True, outcome: Outcome = OUTCOME) -> Status:
    return Status("copying", Tally(files=6010, bytes=20 << 20), scan_done, outcome, 2, 3, 10.0)


def test_a_line_tells_phase_amounts_rates_ranks_and_time_left() -> None:
    assert line(status()) == (
        "copying: 3,005 of 6,010 entries, 10.00 MiB copied (1.00 MiB/s, 100 files/s), 2,000 identical, "
        "2 of 3 ranks busy, 10.0s left"
    )


def test_while_the_scan_goes_on_nobody_knows_how_much_is_left() -> None:
    text = line(status(scan_done=False))
    assert "3,005 of 6,010+ entries" in text and text.endswith(", scanning")
    assert remaining(status(scan_done=False)) is None


def test_failures_are_counted_and_are_dealt_with() -> None:
    failed = Outcome(failures=[Failure(b"x", "EIO")] * 5)
    assert done_entries(status(outcome=failed)) == 5
    assert "5 failed" in line(status(outcome=failed))


def test_the_slower_of_entries_and_bytes_tells_the_time_left() -> None:
    big = Outcome(copied=Tally(files=6009, bytes=5 << 20))
    assert remaining(status(outcome=big)) == pytest.approx(30.0)
    assert remaining(status(outcome=Outcome())) is None, "no rate yet"


def test_a_log_gets_a_dated_line_each_interval_and_no_carriage_return(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    lines = Lines(10.0, stream)
    assert not lines.due()
    now[0] = 110.0
    assert lines.due()
    lines.show(status())
    assert not lines.due()
    now[0] = 119.9
    assert not lines.due()
    now[0] = 120.0
    assert lines.due()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d copying: [^\r\n]*\n", stream.getvalue())


def test_an_interval_of_zero_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines(0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: 1e12)
    assert not lines.due()


def test_the_words_beside_a_bar_fit_on_a_line_of_a_hundred_characters() -> None:
    huge = Tally(10**9, 10**7, 10**6, 0, 10**15)
    done = Outcome(copied=Tally(10**8, 10**6, 0, 0, 10**14))
    status = Status("copying", huge, True, done, 1023, 1023, 360_000.0)
    assert "101,000,000/1,011,000,000" in words(status)
    assert len(words(status)) <= 100

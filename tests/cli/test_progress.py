"""Lines of progress, for logs."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from hpcp_mpi.cli import progress
from hpcp_mpi.cli.progress import Lines, line, words
from hpcp_mpi.engine.progress_meter import Counted, ProgressMeter
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.progress import Progress
from hpcp_mpi.vocab.tally import Tally
from tests.support.launch import command_line
from tests.support.terminal import at_terminal

OUTCOME = Outcome(copied=Tally(files=1000, bytes=10 << 20), skipped=Tally(files=2000), updated=Tally(links=5))


def at_once(counted: Counted) -> Progress:
    return ProgressMeter().read(counted)


def status(scan_done: bool = True, outcome: Outcome = OUTCOME) -> Progress:
    return at_once(Counted("copying", Tally(files=6010, bytes=20 << 20), scan_done, outcome, 2, 3, 10.0))


def test_a_line_tells_phase_amounts_rates_ranks_and_time_left() -> None:
    assert line(status()) == (
        "copying: 3,005 of 6,010 entries, 10.00 MiB copied (1.00 MiB/s, 100 files/s), 2,000 identical, "
        "2 of 3 ranks busy, 10.0s left"
    )


def test_while_the_scan_goes_on_nobody_knows_how_much_is_left() -> None:
    text = line(status(scan_done=False))
    assert "3,005 of 6,010+ entries" in text and text.endswith(", scanning")
    assert status(scan_done=False).remaining is None


def test_failures_are_counted_and_are_dealt_with() -> None:
    failed = Outcome(failures=[Failure(b"x", "EIO")] * 5)
    assert status(outcome=failed).entries == 5
    assert "5 failed" in line(status(outcome=failed))


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
    text = words(at_once(Counted("copying", huge, True, done, 1023, 1023, 360_000.0)))
    assert "101,000,000/1,011,000,000" in text
    assert len(text) <= 100


def phase(name: str, seconds: float, **outcome: Tally) -> Counted:
    return Counted(name, Tally(files=1000, bytes=10 << 20), True, Outcome(**outcome), 1, 3, seconds)


@pytest.mark.parametrize(
    "status, says",
    [
        (
            phase("removing", 10.0, removed=Tally(files=400)),
            "removing: 400 of 1,000 entries, 40 entries/s, 1 of 3 ranks",
        ),
        (phase("comparing", 10.0, skipped=Tally(files=500)), "comparing: 500 of 1,000 entries, 50 entries/s, 500 iden"),
        (
            phase("verifying", 10.0, copied=Tally(files=100, bytes=9 << 20), verified=Tally(files=50, bytes=4 << 20)),
            "verifying: 50 of 100 entries, 4.00 MiB read again (409.60 KiB/s, 5 files/s), 1 of 3",
        ),
    ],
)
def test_each_phase_tells_what_it_is_about(status: Counted, says: str) -> None:
    meter = ProgressMeter()
    meter.read(phase(status.phase, 0.0))
    progress = meter.read(status)
    assert line(progress).startswith(says)
    assert status.phase in words(progress)


def test_a_list_is_as_long_as_what_was_found() -> None:
    status = Counted("listing", Tally(files=900, links=100), False, Outcome(), 1, 3, 10.0)
    assert line(at_once(status)) == "listing: 1,000 entries, 100 entries/s, 1 of 3 ranks busy, scanning"


def test_the_rates_of_a_phase_do_not_count_the_time_before_it() -> None:
    meter = ProgressMeter()
    copied, removed = Tally(files=1000), Tally(files=100)
    assert meter.read(phase("copying", 500.0, copied=copied)).average_files == 2
    assert meter.read(phase("setting directory metadata", 1000.0, copied=copied)).average_files == 1
    meter.read(phase("removing", 1000.0, copied=copied, removed=removed))
    later = meter.read(phase("removing", 1010.0, copied=copied, removed=Tally(files=600)))
    assert "50 entries/s" in line(later)
    assert later.remaining == pytest.approx(8.0), "400 more at 50 a second"


DRAWS = """
import time
from hpcp_mpi.cli.progress import Bar
from hpcp_mpi.vocab.progress import Progress
bar = Bar()
for phase in ("copying", "removing"):
    bar.show(Progress(phase, entries_total=10, total_known=True))
    bar.close()
    print("ALONE", flush=True)
"""


def test_a_bar_that_made_room_for_a_question_is_drawn_again(tmp_path: Path) -> None:
    with at_terminal(*command_line([], flavour="plain", python_args=("-c", DRAWS)), tmp_path) as terminal:
        for phase in ("copying", "removing"):
            terminal.expect(phase)
            terminal.expect("ALONE")
        assert terminal.finish().returncode == 0

"""--status: what a person reads of a ledger, what a program gets, and that nothing more than the file is needed."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.cli.main import main
from hpcp_mpi.cli.status import _ASCII, lines
from hpcp_mpi.ledger.reader import read
from hpcp_mpi.ledger.writer import open_new, resume_ledger
from hpcp_mpi.vocab.checkpoint import Checkpoint, Sample
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.ledger_status import LedgerStatus
from hpcp_mpi.vocab.tally import Tally
from tests.ledger.making import checkpoint, end_process, heading
from tests.support.launch import command_line, run
from tests.support.terminal import at_terminal


def ranks(number: int, **other: Any) -> Checkpoint:
    """A checkpoint in which rank 3 is lost."""
    made = checkpoint(number, **other)
    return replace(
        made,
        ranks=tuple(replace(each, state="lost" if each.rank == 3 else "working", busy=400.0) for each in made.ranks),
    )


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A ledger of two runs; the second was stopped."""
    path = tmp_path / "run \udcff.ledger"
    first = open_new(os.fsencode(path), heading(started=1_700_000_000.0, host="n1"))
    for number in range(1, 6):
        first.checkpoint(checkpoint(number, sample=Sample(number * 10, number, 0, number % 4, 3)))
    first.close()
    second, _ = resume_ledger(os.fsencode(path), heading(host="n2", job="12"))
    found = Tally(1000, 20, 3, 0, 5 << 30)
    second.end(
        ranks(
            7,
            seconds=250.0,
            sample=Sample(250.0, 7, 7000, 3, 3),
            tallies={"found": found, "copied": Tally(500, 10, 1, 0, 1 << 30), "updated": Tally(7)},
            failures=tuple(Failure(b"/data/a\xff/%d" % each, "Permission denied") for each in range(7)),
        ),
        75,
    )
    return path


def text_of(account: LedgerStatus, width: int = 80, **other: Any) -> str:
    return "\n".join(lines(replace(account, **other), width))


def test_a_stopped_run_is_shown_with_all_that_a_reader_asks(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--status", str(stopped)], {}) == 0
    text = capsys.readouterr().out
    command = "$'/data/a\\xff' $'/data/b\\nb' -d /backup"
    for line in (
        "copy: /data/a\\xff /data/b\\nb -> /backup",
        f"command: hpcp-mpi {command}",
        f"on: n2, process {os.getpid()}, job 12, hpcp-mpi 0.1.0",
        f"to resume: hpcp-mpi --resume --ledger $'{stopped.parent}/run \\xff.ledger' {command}",
        "found          1,000           20      3      0  5.00 GiB",
        "copied           500           10      1      0  1.00 GiB",
        "metadata only      7            0      0      0       0 B",
        "identical          0            0      0      0       0 B",
        "hard links made: 7   failures: 7   notes: 6",
        "time: 4m10s in 2 runs   average: 4.10 MiB/s, 2 files/s",
        "chunks: 14   steals: 7   messages: 21",
        "still to scan, as far as known: 4 directories with everything below, 0 directories only",
        "node  ranks  lost  slots  chunks  files  bytes  busy",
        "n0        1     0      4       1      7   70 B  50 %",
        "n1        2     1      8       2     14  140 B  50 %",
        "lost: rank 3 on n1, after 1 chunk",
        "failed: /data/a\\xff/4: Permission denied",
        "failed: … and 2 more: Permission denied (--json lists all)",
    ):
        assert line in text.splitlines(), line
    assert "state: stopped, exit code 75: stopped early by a signal" in text
    assert "phase: phase 7 (scan complete), checkpoint " in text
    assert "run 1: 2023-11-1" in text and ", n1, process" in text and "50.0s, broke down" in text
    assert "metadata only" in text and "removed" not in text, "rows of zeros are left out"
    assert max(map(len, text.replace(str(stopped.parent), "/ledgers").splitlines())) < 160


@pytest.mark.parametrize(
    "change, says",
    [
        ({"there": True}, "state: running (last sign of life 5 s ago)"),
        ({"there": None}, "state: running (last sign of life 5 s ago)"),
        ({"there": False}, "state: killed: its process is gone (last sign of life 20"),
        ({"there": None, "late": 300}, "state: silent for 5m05s, probably dead (last sign of life 20"),
        ({"there": True, "late": 300}, "state: silent for 5m05s, but its process is there"),
    ],
)
def test_the_state_in_words(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = open_new(os.fsencode(path), heading())
    account = read(os.fsencode(path))
    ledger.close()
    now = account.last.alive + 5 + change.pop("late", 0)
    text = text_of(account, time=now, **change)
    assert says in text and "no checkpoint yet" in text
    assert ("to resume: " in text) != ("state: running" in text)


@pytest.mark.parametrize("code, says", [(0, "success"), (23, "some entries failed")])
def test_the_end_in_words(code: int, says: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    open_new(os.fsencode(path), heading()).end(checkpoint(1, todo=()), code)
    text = text_of(read(os.fsencode(path)))
    assert f"state: ended, exit code {code}: {says}" in text and "to resume" not in text
    assert "still to scan" not in text and "\nrun 1" not in text


def test_the_command_to_go_on_says_everything_once(stopped: Path) -> None:
    account = read(os.fsencode(stopped))
    again = ("hpcp-mpi", "--resume", "--ledger=x y", "--", "a", "b")
    text = text_of(account, runs=(replace(account.last, command=again),))
    assert "to resume: hpcp-mpi --resume '--ledger=x y' -- a b\n" in text


def test_the_rate_of_the_last_minute_is_told_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = open_new(os.fsencode(path), heading())
    for number in range(10):
        ledger.checkpoint(checkpoint(number, sample=Sample(number * 20, number * 2000, number << 20, 3, 3)))
        while ledger.waiting:
            time.sleep(0.001)
    assert "in the last 1m00s: 51.20 KiB/s, 100 files/s" in text_of(read(os.fsencode(path)))
    ledger.close()


def test_the_line_of_busy_ranks_is_as_wide_as_the_screen(stopped: Path) -> None:
    account = read(os.fsencode(stopped))
    samples = tuple((1, Sample(float(at), 0, 0, min(at, 8), 8)) for at in range(1, 500))

    def timeline(width: int, blocks: str) -> str:
        found = [line for line in lines(replace(account, samples=samples), width, blocks) if "ranks with work" in line]
        return found[0]

    line = timeline(80, " ▁▂▃▄▅▆▇█")
    assert line.startswith("ranks with work, 0 to 8m19s, 8 at most: ") and line.endswith("▆" + "█" * 38)
    assert len(line) == 79 and len(timeline(120, _ASCII)) == 119
    assert timeline(80, _ASCII).isascii()
    assert "ranks with work" not in text_of(account, samples=samples[:1])


def test_many_nodes_are_cut_short_and_lost_ones_are_shown(stopped: Path) -> None:
    account = read(os.fsencode(stopped))
    assert account.latest is not None
    many = tuple(
        replace(account.latest.ranks[0], rank=rank, node=f"n{rank}", state="lost" if rank == 90 else "working")
        for rank in range(1, 101)
    )
    text = text_of(account, latest=replace(account.latest, ranks=many), runs=(replace(account.last, ranks=many),))
    assert "… and 68 more nodes" in text and "\nn90 " in text and "lost: rank 90 on n90" in text


def test_lost_ranks_of_earlier_runs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    open_new(os.fsencode(path), heading()).end(ranks(1), 75)
    resume_ledger(os.fsencode(path), heading())[0].end(checkpoint(2), 0)
    assert "lost in run 1: rank 3 on n1, after 1 chunk" in text_of(read(os.fsencode(path)))


def test_json_has_all_of_it(stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--status", str(stopped), "--json", str(tmp_path / "j")], {}) == 0
    found = json.loads((tmp_path / "j").read_text())
    assert (
        found["state"] == "stopped"
        and found["schema_version"] == 1
        and found["kind"] == "status"
        and found["destination"] == "/backup"
    )
    assert found["sources"] == ["/data/a\\xff", "/data/b\\nb"]
    assert len(found["failures"]) == found["failure_count"] == 7 and len(found["timeline"]) == 6
    assert found["failures"][0] == {"path": "/data/a\\xff/0", "reason": "Permission denied", "vanished": False}
    assert [(each["run"], each["exit_code"], len(each["ranks"])) for each in found["runs"]] == [
        (1, None, 3),
        (2, 75, 3),
    ]
    assert found["copied"]["bytes"] == 1 << 30 and found["todo"] == {"trees": 4, "directories": 0}
    assert found["runs"][0]["command"][1] == "/data/a\\xff"


def test_what_cannot_be_shown_ends_with_1_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("text" * 1000)
    for name, says in (("no", "there is no ledger"), ("text", "is not a ledger"), (".", "is a directory")):
        assert main(["--status", str(tmp_path / name)], {}) == 1
        assert says in capsys.readouterr().err
    open_new(os.fsencode(tmp_path / "ledger"), heading()).end(None, 0)
    assert main(["--status", str(tmp_path / "ledger"), "--json", str(tmp_path / "no/j")], {}) == 1
    assert "cannot write the report" in capsys.readouterr().err


def test_sources_make_no_sense_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--status", "ledger", "src", "dst"], {}) == 2
    assert "--status shows a ledger" in capsys.readouterr().err


def test_it_is_plain_anywhere_and_ascii_where_nothing_else_can_be_shown(stopped: Path) -> None:
    for env, blocks in (({}, "█"), ({"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, "@")):
        shown = run(["--status", stopped], flavour="plain", env={"COLUMNS": "200", **env})
        assert shown.returncode == 0 and "\x1b" not in shown.stdout and "\r" not in shown.stdout
        assert blocks in next(line for line in shown.stdout.splitlines() if line.startswith("ranks with work"))
        assert shown.stdout.isascii() == (blocks == "@")
        assert shown.stderr == ""


def test_on_a_terminal_it_is_as_plain(stopped: Path) -> None:
    with at_terminal(*command_line(["--status", str(stopped)], flavour="plain")) as terminal:
        ended = terminal.finish()
    assert ended.returncode == 0 and "\x1b" not in ended.screen and "state: stopped" in ended.screen


def test_under_a_launcher_it_is_shown_once_and_without_mpi(
    stopped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mpi4py", None)
    for rank in ("0", "1"):
        environment = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": rank, "PMI_SIZE": "2", "PMI_RANK": rank}
        assert main(["--status", str(stopped)], environment) == 0
        assert ("state: stopped" in capsys.readouterr().out) == (rank == "0")


def test_a_name_after_two_dashes_is_no_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-n", "--", "--status", str(tmp_path / "dst")], {}) == 1
    assert "--status" in capsys.readouterr().err


def test_a_killed_run_is_recognised_as_such(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    open_new(os.fsencode(path), heading())
    end_process(path)
    assert "state: killed: its process is gone" in text_of(read(os.fsencode(path)))

"""Progress as lines and as JSON objects: when they come, and what they are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.cli.progress import lines
from hpcp_mpi.cli.progress.json_lines import JsonLines
from hpcp_mpi.cli.progress.lines import Lines
from hpcp_mpi.vocab.progress import Progress
from tests.support.launch import World, command_line

DATED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d copying( \d+%)?: .+")


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(lines.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize("interval, moments", [(10.0, [1, 11, 21]), (0.5, [0.5, 1, 1.5]), (0.0, [])])
def test_the_first_comes_after_a_second_and_the_others_at_intervals_which_0_silences(
    interval: float, moments: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    written: list[str] = []
    objects: list[dict[str, Any]] = []
    watchers = (Lines(interval, written.append), JsonLines(interval, lambda event, content: objects.append(content)))
    seen = []
    for tenth in range(215):
        clock.now = 100 + tenth / 10
        for watcher in watchers:
            if watcher.due():
                seen.append(tenth / 10)
                watcher.show(Progress("copying"))
    assert seen[::2] == seen[1::2]
    assert seen[:6:2] == moments
    assert len(written) == len(objects)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    for number in range(8):
        (tmp_path / "src" / f"{number}").write_bytes(bytes(1_000_000))
    return tmp_path / "src"


SLOW = ["-L", "4M", "--chunk-size", "1M"]  # bytes a second: the run takes two seconds


def test_json_gives_a_program_nothing_but_objects_each_in_a_line_of_its_own(big: Path, tmp_path: Path) -> None:
    done = (
        World("mpich", 4)
        .run([*SLOW, "--progress", "json", "--progress-interval", "0.3", big, tmp_path / "dst"])
        .check()
    )
    objects = [json.loads(line) for line in done.stderr.splitlines()]
    progress = [each for each in objects if each["event"] == "progress"]
    assert objects[0]["event"] == objects[-1]["event"] == "news"
    assert "done: 8 files" in objects[-1]["text"]
    assert len(progress) >= 3
    assert set(progress[0]) == {"event", "time", "fraction", *Progress.__slots__}
    copying = [each for each in progress if each["phase"] == "copying"]
    assert copying[-1]["bytes_total"] == 8_000_000
    assert [each["bytes"] for each in progress] == sorted(each["bytes"] for each in progress)


def test_a_problem_is_an_object_too(tmp_path: Path) -> None:
    done = World("plain").run(["--progress", "json", tmp_path / "gone", tmp_path / "dst"])
    assert done.returncode == 1
    problem = json.loads(done.stderr.splitlines()[-1])
    assert problem["event"] == "problem" and "No such file or directory" in problem["text"]


def test_without_a_terminal_there_are_lines_of_80_characters_at_most_soon(big: Path, tmp_path: Path) -> None:
    done = World("plain").run([*SLOW, big, tmp_path / "dst"]).check()
    shown = [line for line in done.stderr.splitlines() if " copying" in line]
    assert len(shown) == 1, "after a second, then after ten"
    assert DATED.fullmatch(shown[0]) and len(shown[0]) <= 80
    assert "\x1b" not in done.stderr and "\r" not in done.stderr


def test_progress_can_be_silenced(big: Path, tmp_path: Path) -> None:
    done = World("plain").run([*SLOW, "--progress", "none", big, tmp_path / "dst"]).check()
    assert [line.split(" ", 2)[2][:9] for line in done.stderr.splitlines()] == ["hpcp-mpi ", "hpcp-mpi:"]


def test_a_pipe_that_nobody_reads_stops_no_copy(big: Path, tmp_path: Path) -> None:
    command, environment = command_line(
        [*SLOW, "--progress", "json", "--progress-interval", "0.001", big, tmp_path / "dst"], flavour="plain"
    )
    # More than a pipe holds is written meanwhile. What was not read is not lost.
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    try:
        done = re.compile(rb"copied|done")
        copied = tmp_path / "dst"
        for _ in range(200):
            if len(list(copied.glob("[0-9]"))) == 8:
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        assert sorted(path.name for path in copied.glob("[0-9]")) == sorted(str(n) for n in range(8))
        written = process.stderr.read()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert len(written) > 1 << 16 and done.search(written)
    for line in written.splitlines():
        json.loads(line)

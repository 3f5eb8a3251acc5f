"""--log-file and --quiet: what is written where."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from hpcp_mpi.cli.main import main
from tests.support.launch import World, command_line
from tests.support.marks import each_world, needs_root

PLAIN = World("plain")
DATED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").write_bytes(bytes(3_000_000))
    return tmp_path


def texts(log: Path) -> list[str]:
    lines = log.read_text().splitlines()
    assert all(DATED.match(line) for line in lines), lines
    return [line[20:] for line in lines]


@each_world(sizes=(3,), launchers=("plain", "mpich"))
def test_a_quiet_run_shows_nothing_and_its_log_file_has_all(world: World, place: Path) -> None:
    for number in range(8):
        (place / f"src/{number}").write_bytes(bytes(1_000_000))
    slow = ["-L", "4M", "--chunk-size", "1M"]
    done = world.run(["-q", *slow, "--log-file", "run.log", "src", "dst"], cwd=place).check()
    assert (done.stdout, done.stderr) == ("", "")
    first, *progress, last = [text for text in texts(place / "run.log") if text.startswith(("hpcp", "copying"))]
    assert "src -> dst" in first and "done: 9 files" in last
    assert progress, "a line after a second"
    assert "found" in (place / "run.log").read_text(), "and the table"


def test_a_quiet_run_says_what_went_wrong_and_has_the_same_exit_code(place: Path) -> None:
    (place / "dst/a/in the way").mkdir(parents=True)
    done = PLAIN.run(["-q", "src/", "-d", "dst"], cwd=place)
    assert done.returncode == 23 and done.stdout == ""
    assert re.search(r"failed: \S+/src/a: ", done.stderr) or "failed: src/a: " in done.stderr, done
    assert "working ranks" not in done.stderr and "src ->" not in done.stderr
    fatal = PLAIN.run(["-q", "gone", "dst"], cwd=place)
    assert fatal.returncode == 1 and "cannot use the source" in fatal.stderr


def test_a_quiet_run_prints_what_was_asked_for(place: Path) -> None:
    listed = PLAIN.run(["-q", "-n", "src", "dst"], cwd=place).check()
    assert ">f+++++++++ a" in listed.stdout and listed.stderr.count("\n") <= 3, listed
    assert "found " not in listed.stdout + listed.stderr


def test_runs_append_and_a_fatal_error_is_in_the_log_too(place: Path) -> None:
    (place / "run.log").write_text("2026-01-01 00:00:00 what was there\n")
    for source, code in (("src", 0), ("gone", 1)):
        assert PLAIN.run(["--log-file", "run.log", source, "dst"], cwd=place).returncode == code
    said = texts(place / "run.log")
    assert said[0] == "what was there"
    assert any("done: 1 file" in text for text in said)
    assert any("cannot use the source" in text for text in said)


def test_a_name_cannot_write_a_line_of_its_own_into_the_log(place: Path) -> None:
    name = "x\n2026-01-01 00:00:00 forged"
    (place / "src" / name).write_text("")
    (place / "dst" / name / "in the way").mkdir(parents=True)
    assert PLAIN.run(["--log-file", "run.log", "src/", "-d", "dst"], cwd=place).returncode == 23
    assert "forged" in (place / "run.log").read_text()
    assert not any(text.startswith("forged") for text in texts(place / "run.log"))


REFUSED = {
    "in a mirror": (["-rme", "-rf", "src/", "-d", "dst/", "--log-file", "dst/run.log"], "which is made a mirror"),
    "in what is removed": (["-rm", "-rf", "dst", "--log-file", "dst/run.log"], "which is to be removed"),
    "where a file lands": (["src/", "-d", "dst/", "--log-file", "dst/a"], "would land on the log file"),
    "that is the report": (["src/", "-d", "dst/", "--json", "x", "--log-file", "x"], "of this run"),
    "that is a directory": (["src/", "-d", "dst/", "--log-file", "dst"], "it is not a regular file"),
    "that is a device": (["src/", "-d", "dst/", "--log-file", "/dev/null"], "it is not a regular file"),
    "in no directory": (["src/", "-d", "dst/", "--log-file", "gone/run.log"], "No such file or directory"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_log_file_is_refused_before_anything_is_done(
    what: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, why = REFUSED[what]
    (place / "dst").mkdir()
    before = sorted(os.walk(place))
    monkeypatch.chdir(place)
    assert main(words, {}) in (1, 2)
    assert why in capsys.readouterr().err
    assert sorted(os.walk(place)) == before


@needs_root
def test_no_other_user_chooses_what_a_log_is_written_to(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared, theirs = place / "shared", place / "passwd"
    shared.mkdir()
    shared.chmod(0o777)
    theirs.write_text("root:x:0:0\n")
    for trap in ("linked", "named", "owned"):
        log = shared / f"{trap}.log"
        if trap == "linked":
            log.symlink_to(theirs)
            os.lchown(log, 1, 1)
        elif trap == "named":
            os.link(theirs, log)
        else:
            log.touch()
            os.chown(log, 1, 1)
        monkeypatch.chdir(place)
        assert main(["--log-file", str(log), "src", "dst"], {}) == 1
        assert "log file" in capsys.readouterr().err
        assert not (place / "dst").exists()
        assert theirs.read_text() == "root:x:0:0\n" and (trap != "owned" or log.read_text() == "")


def test_a_full_disk_loses_lines_of_the_log_and_nothing_else(place: Path) -> None:
    script = "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
    script += "from hpcp_mpi.cli.log import Log\nlog = Log()\nlog.append_to(b'run.log')\n"
    script += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    script += "for number in range(6): log.say(f'line {number} ' + '.' * 20)\n"
    command, environment = command_line([], flavour="plain", python_args=("-c", script))
    stderr = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True, check=True).stderr
    assert stderr.count("lines are lost, as the log file run.log cannot be written: File too large") == 1
    assert [f"line {number}" in stderr for number in range(6)] == [True] * 6
    assert (place / "run.log").stat().st_size == 100

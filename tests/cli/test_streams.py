"""Standard output and error that are closed, full, broken pipes, or of an encoding that lacks a name's letters."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest

from hpcp_mpi.cli.streams import Shown
from hpcp_mpi.vocab.errors import EXIT_UNSHOWN
from tests.support.launch import World, command_line

PLAIN, MPICH = World("plain"), World("mpich", 3)
# What a shell makes of the tool's own descriptors, on every rank.
CLOSED, FULL = ">&- 2>&- <&-", ">/dev/full 2>/dev/full"


def redirected(redirection: str) -> list[str]:
    """A wrapper that starts each rank with its streams as a shell's redirection makes them."""
    return ["sh", "-c", f'exec "$@" {redirection}', "sh"]


def shell(words: list[str], rest: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the tool without a launcher in bash: its command line, then rest; the exit code is that of the tool."""
    command, env = command_line(words, flavour="plain")
    script = f'"$@" {rest}; exit "${{PIPESTATUS[0]}}"'
    return subprocess.run(
        ["bash", "-c", script, "bash", *command],
        cwd=cwd,
        env={**env, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    src = tmp_path / "src"
    (src / "sub").mkdir(parents=True)
    for number in range(40):
        (src / f"{number}").write_bytes(os.urandom(3000))
        (src / "sub" / f"{number}").write_bytes(os.urandom(3000))
    (src / "日本").write_bytes(b"a name that latin-1 lacks")
    (src / "large").write_bytes(os.urandom(3_000_000))
    return src


def same(src: Path, dst: Path) -> None:
    assert subprocess.run(["diff", "-r", src, dst], capture_output=True, text=True).stdout == ""


@pytest.mark.parametrize(
    "world, redirection, code",
    [
        (PLAIN, CLOSED, EXIT_UNSHOWN),
        (MPICH, CLOSED, EXIT_UNSHOWN),
        (MPICH, FULL, EXIT_UNSHOWN),
        (PLAIN, ">&-", EXIT_UNSHOWN),
        (PLAIN, "2>&-", 0),
        (PLAIN, "2>/dev/full", 0),
        (PLAIN, "<&-", 0),
    ],
    ids=str,
)
def test_a_run_without_usable_streams_copies_byte_by_byte(
    world: World, redirection: str, code: int, tree: Path, tmp_path: Path
) -> None:
    """The next file that is opened would have a closed descriptor's number, and get what is printed."""
    dst, report = tmp_path / "dst", tmp_path / "report.json"
    big = ["--split-size", "1M", "--ledger", tmp_path / "run.ledger"]  # files that this process itself writes
    done = world.run([*big, "-v", "--json", report, tree, dst], wrapper=redirected(redirection))
    assert done.returncode == code, str(done)
    same(tree, dst)
    assert json.loads(report.read_text())["copied"]["files"] == 82
    assert "Traceback" not in str(done)


def test_a_full_standard_output_has_a_code_and_a_line_of_its_own_after_all_was_done(tree: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = shell(["--json", str(report), "src", "dst"], ">/dev/full", tmp_path)
    assert done.returncode == EXIT_UNSHOWN
    last = done.stderr.splitlines()[-1]
    assert last == (
        "hpcp-mpi: standard output cannot be written (No space left on device): what it was to show is lost "
        "(exit code 74)"
    )
    assert "done: 82 files" in done.stderr
    assert report.exists()
    same(tree, tmp_path / "dst")


def test_a_failure_keeps_its_exit_code_when_its_lines_are_lost(tree: Path, tmp_path: Path) -> None:
    dst = tmp_path / "dst"
    (dst / "large" / "in the way").mkdir(parents=True)
    assert shell(["src", "dst"], ">/dev/full 2>/dev/full", tmp_path).returncode == 23
    assert shell(["-cfl", "src", "dst"], ">/dev/full 2>/dev/full", tmp_path).returncode == 3


@pytest.mark.parametrize("words", [["-h"], ["--print-man"], ["-V"], ["--status", "run.ledger"]])
def test_a_command_that_only_prints_is_quiet_when_its_reader_has_seen_enough(
    words: list[str], tree: Path, tmp_path: Path
) -> None:
    shell(["--ledger", "run.ledger", "src", "dst"], "", tmp_path)
    done = shell(words, "| exec true", tmp_path)
    assert (done.returncode, done.stderr) in ((EXIT_UNSHOWN, ""), (0, ""))  # 0: it was faster than the reader's end
    full = shell(words, ">/dev/full", tmp_path)
    assert full.returncode == EXIT_UNSHOWN
    assert "No space left on device" in full.stderr and "Traceback" not in full.stderr
    assert shell(words, ">&-", tmp_path).returncode == EXIT_UNSHOWN


@pytest.mark.parametrize("rest", [">/dev/full", ">&-", "| exec true"])
def test_a_list_for_a_standard_output_that_is_lost_still_has_its_report(rest: str, tmp_path: Path) -> None:
    src = tmp_path / "src"
    src.mkdir()
    for number in range(2000):
        (src / (f"{number}" * 20)).touch()  # more than a pipe holds
    done = shell(["--json", "report.json", "-fl", "-", "-nhfl", "src"], rest, tmp_path)
    assert done.returncode == EXIT_UNSHOWN, done.stderr
    assert "standard output cannot be written" in done.stderr and "Traceback" not in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["exit_code"], report["found"]["files"]) == (EXIT_UNSHOWN, 2000)


def test_a_closed_standard_input_is_no_empty_list(tree: Path, tmp_path: Path) -> None:
    done = shell(["-sfl", "-", "src", "-d", "dst"], "<&-", tmp_path)
    assert done.returncode == 1
    assert "cannot read it: Bad file descriptor" in done.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_name_that_the_encoding_lacks_is_shown_with_escapes(encoding: str, tree: Path, tmp_path: Path) -> None:
    done = shell(["-v", "src", "dst"], "| cat", tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert ">f+++++++++ \\u65e5\\u672c" in done.stdout
    compared = shell(["-cfl", "src", "elsewhere"], "| cat", tmp_path, PYTHONIOENCODING=encoding)
    assert compared.returncode in (1, 3) and "Traceback" not in compared.stderr


def test_a_question_without_standard_input_is_refused_in_words(tree: Path, tmp_path: Path) -> None:
    done = shell(["-rm", "src"], "<&-", tmp_path)
    assert done.returncode == 2 and "there is no terminal to ask on" in done.stderr
    assert tree.exists()


def _written(stream_of: object, texts: list[str]) -> None:
    assert isinstance(stream_of, Shown)
    for text in texts:
        stream_of.write(text)
        stream_of.flush()


class Disk:
    """A descriptor's writer that breaks off at some bytes, and works again when it is told."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.data = b""

    def write(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = data[: min(self.room, 3)]  # in small pieces
        self.room -= len(taken)
        self.data += taken
        return len(taken)


def test_a_log_goes_on_with_a_line_of_its_own_when_there_is_room_again() -> None:
    disk = Disk(room=7)
    log = Shown(2, "utf-8", by_line=True, tries_again=True, write=disk.write)
    _written(log, ["one\n", "second\n", "third\n"])
    disk.room = 100
    _written(log, ["fourth\n", "fifth\n"])
    assert disk.data == b"one\nsec\nfourth\nfifth\n"
    assert log.error is not None and log.error.errno == errno.ENOSPC


def test_a_list_ends_where_it_first_could_not_be_written_and_has_no_hole() -> None:
    disk = Disk(room=7)
    output = Shown(1, "utf-8", by_line=False, write=disk.write)
    _written(output, ["one\n", "second\n"])
    disk.room = 100
    _written(output, ["third\n"])
    assert disk.data == b"one\nsec"


def test_a_pipe_that_is_not_ready_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = subprocess.Popen(["sh", "-c", "sleep 0.2; cat | wc -c"], stdin=reader, stdout=subprocess.PIPE)
    os.close(reader)
    output = Shown(writer, "ascii", by_line=False)
    _written(output, ["x" * 500_000])
    os.close(writer)
    assert int(command.communicate()[0]) == 500_000
    assert output.error is None

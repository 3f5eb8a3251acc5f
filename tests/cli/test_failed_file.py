"""What failed: a file with the names of all, the command that does it again, and who is full."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcp_mpi.cli import commands, failed_file
from hpcp_mpi.cli.report import problem_lines
from hpcp_mpi.host.output_file import output_at
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb
from hpcp_mpi.vocab.tally import ONE_DIRECTORY, one_file
from tests.support import oracle, reports
from tests.support.copies import PLAIN, Copied, copy
from tests.support.launch import Argument, Finished
from tests.support.marks import needs_root
from tests.support.trees import Dir, File, build

T = 1_600_000_000 * 10**9
ODD = "no\n:\\ \udcff\x1b[31m'"
USER = "nobody" if os.geteuid() == 0 else None  # root can read everything
LISTS = "hpcp-mpi-failed-*.list"


def lists(place: Path) -> list[Path]:
    return sorted(place.glob(LISTS))


def retry_of(done: Finished) -> list[str]:
    """The words after "to do again what failed:", as bash reads them."""
    (line,) = re.findall(r"^to do again what failed: (.*)$", done.stderr, re.M)
    read = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    return [os.fsdecode(word) for word in read.stdout.split(b"\0")[:-1]]


@pytest.fixture
def pair(on_tmpfs: Path, everyone: Callable[[Path], Path]) -> tuple[Path, Path]:
    """A source in which nine files cannot be read by USER, and a working directory of his."""
    files = {f"bad{n}": File(b"x" * n, mode=0, mtime_ns=T) for n in range(1, 9)}
    odd = Dir({f"bad{ODD}": File(b"odd", mode=0, mtime_ns=T)}, mtime_ns=T)
    build(on_tmpfs / "src", {**files, "good": File(b"good", mtime_ns=T), "d": odd})
    (on_tmpfs / "cwd").mkdir()
    everyone(on_tmpfs)
    for path in (on_tmpfs / "src", on_tmpfs / "cwd"):
        path.chmod(0o755)
        if USER:
            subprocess.run(["chown", "-Rh", USER, path], check=True)
    return on_tmpfs / "src", on_tmpfs / "cwd"


def mend(src: Path) -> None:
    for path in (*src.glob("bad*"), *src.glob("d/bad*")):
        path.chmod(0o644)


def copied(*args: Argument, code: int = 0, **setting: Any) -> Copied:
    return copy(*args, code=code, user=USER, **setting)


def test_the_names_of_what_failed_are_in_a_file_and_the_shown_command_copies_them(pair: tuple[Path, Path]) -> None:
    src, cwd = pair
    failed = copied("--verify", src, "dst", code=23, cwd=cwd)
    (listed,) = lists(cwd)
    assert failed.report["failed_file"] == str(listed) and f"all 9 that failed: {listed}" in failed.done.stderr
    assert len(listed.read_bytes().splitlines()) == failed.report["failure_count"] == 9
    assert listed.read_bytes().isascii() and len(re.findall("^failed: /", failed.done.stderr, re.M)) == 5
    assert failed.report["failed"]["files"] == 9 and not any(failed.report["left"].values())
    words = retry_of(failed.done)
    assert [printable(os.fsencode(word)) for word in words] == failed.report["retry"]
    assert words[-5:] == ["-sfl", str(listed), str(src), "-d", str(cwd / "dst")] and "--verify" in words
    mend(src)
    words[words.index("--json") + 1] = str(cwd / "report")  # that of `copied` is gone
    assert "9 files copied" in PLAIN.run(words[1:], user=USER).check().stdout, "from any directory"
    assert copied(src, "dst", "--verify", cwd=cwd).report["identical"]["files"] == 10
    assert lists(cwd) == [], "what failed once is done: nobody does it again"
    oracle.assert_equal_trees(src, cwd / "dst", top=False)


def test_it_is_beside_the_ledger_or_where_the_user_says(pair: tuple[Path, Path]) -> None:
    src, cwd = pair
    (cwd / "ledgers").mkdir(mode=0o700)
    if USER:
        subprocess.run(["chown", USER, cwd / "ledgers"], check=True)
    done = copied(src, "dst", "--ledger", "ledgers/run.ledger", code=23, cwd=cwd)
    assert done.report["failed_file"] == str(cwd / "ledgers/run.failed.list") and lists(cwd) == []
    done = copied(src, "dst2", "--failed", "my list", code=23, cwd=cwd)
    assert done.report["failed_file"] == str(cwd / "my list") and lists(cwd) == []
    assert "--failed" not in done.report["retry"], "the list that is read is not written"
    mend(src)
    copied(src, "dst2", "--failed", "my list", cwd=cwd)
    assert not (cwd / "my list").exists(), "nothing failed any more"


def test_a_list_that_is_passed_on_is_not_read_again(pair: tuple[Path, Path]) -> None:
    src, cwd = pair
    done = copied(src, "dst", "--failed", "/dev/stdout", code=23, cwd=cwd)
    assert {f"bad{n}" for n in range(1, 9)} <= set(done.done.stdout.splitlines())
    assert "-sfl" not in done.report["retry"] and done.report["retry"][-1] == "/dev/stdout"


def test_a_directory_that_failed_is_done_again_by_the_same_command(pair: tuple[Path, Path]) -> None:
    """A list takes a directory without what is in it: to copy what it names would not be all."""
    src, cwd = pair
    (src / "d").chmod(0)
    done = copied(src, "dst", code=23, cwd=cwd)
    (src / "d").chmod(0o755)
    assert retry_of(done.done)[-2:] == [str(src), "dst"] and "-sfl" not in retry_of(done.done)
    assert {line[:1] for line in lists(cwd)[0].read_text().splitlines()} == {"/"}, "which -sfl refuses"


@pytest.mark.parametrize("where", ["src", "src/d", "cwd/dst"])
def test_it_is_not_written_into_what_is_copied(where: str, pair: tuple[Path, Path]) -> None:
    src, cwd = pair
    home = cwd / "home"
    for path in (home, cwd / "dst"):
        path.mkdir()
        path.chmod(0o777)
    done = copied(src, cwd / "dst", code=23, cwd=src.parent / where, env={"HOME": str(home)})
    assert os.path.dirname(done.report["failed_file"]) == str(home)
    home.chmod(0o555)
    for path in home.iterdir():
        path.unlink()
    done = copied(src, cwd / "dst", code=23, cwd=src.parent / where, env={"HOME": str(cwd / "nowhere")})
    assert done.report["failed_file"] is None
    assert "the names of what failed were not written to a file: " in done.done.stderr
    assert "more: Permission denied (--json lists all)" in done.done.stderr
    assert not [name for root in (src, cwd) for _, _, names in os.walk(root) for name in names if ".list" in name]


def test_a_link_that_somebody_laid_there_is_not_written_through(on_tmpfs: Path) -> None:
    (on_tmpfs / "precious").write_text("precious")
    place = os.fsencode(on_tmpfs / "hpcp-mpi-failed-1.list")
    os.symlink("precious", place)
    failed_file.remove_old([place])
    assert os.path.islink(place), "it is no list of an earlier run"
    if USER:
        on_tmpfs.chmod(0o1777)
        os.lchown(place, 65534, 65534)
        written, why = failed_file.write_first([place], [ONE], b"/s")
        assert written is None and why and (on_tmpfs / "precious").read_text() == "precious"


def test_what_nobody_asked_for_nobody_else_reads(on_tmpfs: Path) -> None:
    place = on_tmpfs / "hpcp-mpi-failed-1.list"
    failed_file.write_first([bytes(place)], [ONE], b"/s")
    assert place.stat().st_mode & 0o777 == 0o600
    place.chmod(0o644)  # as its owner wishes
    failed_file.write_first([bytes(place)], [ONE], b"/s")
    assert place.stat().st_mode & 0o777 == 0o644 and place.read_text() == "a\n"


def test_an_old_list_is_removed_where_it_was_looked_at_and_nowhere_else(on_tmpfs: Path) -> None:
    """Else another user, who may rename directories above it, would choose what is removed."""
    for name in ("mine", "precious"):
        (on_tmpfs / name).mkdir()
        (on_tmpfs / name / "list").write_text(name)
    place = failed_file.failed_at(bytes(on_tmpfs / "mine/list"))
    (on_tmpfs / "mine").rename(on_tmpfs / "away")
    (on_tmpfs / "mine").symlink_to("precious")
    place.remove()
    place.close()
    assert (on_tmpfs / "precious/list").read_text() == "precious" and list((on_tmpfs / "away").iterdir()) == []


def report_of(*failures: Failure, counterparts: tuple[bytes, bytes] | None = (b"/s", b"/d")) -> Report:
    return Report(outcome=Outcome(failures=list(failures)), counterparts=counterparts)


ONE = Failure(b"/s/a", "no", attempted=one_file(1))


@pytest.mark.parametrize(
    "report, base",
    [
        (report_of(ONE), b"/s"),
        (report_of(ONE, counterparts=None), None),
        (report_of(ONE, Failure(b"/elsewhere/a", "no", attempted=one_file(1))), None),
        (report_of(ONE, Failure(b"/s/d", "no", attempted=ONE_DIRECTORY)), None),
        (report_of(ONE, Failure(b"/s/b", "its metadata")), None),
        (report_of(Failure(b"/s", "no", attempted=one_file(1))), None),
    ],
)
def test_a_list_is_only_what_to_do_again_where_it_can_say_all_of_it(report: Report, base: bytes | None) -> None:
    assert commands.base_of(report, Request(Verb.COPY, (b"s",), (b"d",))) == base
    for verb in (Verb.REMOVE, Verb.COMPARE, Verb.LIST, Verb.IMAGE):
        assert commands.base_of(report, Request(verb, (b"s",), (b"d",))) is None


def test_a_command_for_srun_names_the_flavour_of_pmi_that_this_one_was_started_with() -> None:
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8"}
    assert commands.launcher(8, step | {"SLURM_MPI_TYPE": "pmi2"}) == ("srun", "--mpi=pmi2", "-n", "8")
    assert commands.launcher(8, step) == ("srun", "-n", "8"), "one whose site chose the flavour"
    assert commands.launcher(8, {"SLURM_MPI_TYPE": "pmi2"}) == ("mpiexec", "-n", "8"), "in a job, without srun"


@pytest.mark.parametrize(
    "given, kept",
    [
        ("src dst", ""),
        ("-v -e a -e b --verify src dst -L 4M", "-v -e a -e b --verify -L 4M"),
        ("src -d dst --ledger x --resume", ""),
        ("-j4 --sparse=always -hs 1M -- -odd dst", "-j=4 --sparse=always -hs 1M"),
        ("-0 -sfl list base -d dst --failed f --json -", "--json -"),
    ],
)
def test_the_options_of_a_command_are_kept_and_its_places_are_not(given: str, kept: str) -> None:
    command = commands.from_list((), given.split(), (b"/s", b"/d"), b"/f")
    assert command == ("hpcp-mpi", *kept.split(), "-sfl", "/f", "/s", "-d", "/d")


def test_many_failures_take_little_time_and_no_memory_of_their_own(tmp_path: Path) -> None:
    failures = [Failure(b"/s/d%d/f%d" % (n % 1000, n), "no", attempted=ONE.attempted) for n in range(50_000)]
    output = output_at(os.fsencode(tmp_path / "list"), "the list")
    report = report_of(*failures)
    tracemalloc.start()
    began = time.process_time()
    failed_file.write(output, failures, b"/s")
    lines = list(problem_lines(report))
    took = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    output.close()
    assert len((tmp_path / "list").read_bytes().splitlines()) == 50_000 and len(lines) == 6
    assert peak < 4 << 20 and took < 5, (peak, took)


@needs_root
def test_a_full_disk_is_named_once_with_what_is_full(on_tmpfs: Path) -> None:
    script = """
        mount -t tmpfs -o size=2m full "$1/full" && mount -t tmpfs -o nr_inodes=20 few "$1/few" || exit 99
        shift; exec "$@"
    """
    build(on_tmpfs, {"full": Dir(), "few": Dir(), "cwd": Dir()})
    build(on_tmpfs / "big", {f"f{n}": File(os.urandom(1 << 20), mtime_ns=T) for n in range(6)})
    build(on_tmpfs / "many", {f"f{n}": File(b"", mtime_ns=T) for n in range(60)})
    private = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", str(on_tmpfs)]
    # What the last slots to fail had taken is free again, more or less of it.
    little = r"\((?:0 B|[\d.]+ KiB|[01]\.\d\d MiB) free"
    for source, target, what in (("big", "full", little), ("many", "few", r"\b1?\d inodes free")):
        place = on_tmpfs / target
        done = PLAIN.run([on_tmpfs / source, place], cwd=on_tmpfs / "cwd", wrapper=private)
        assert done.returncode == 23, str(done)
        (full,) = re.findall("^full: .*$", done.stderr, re.M)
        assert full.startswith(f"full: {place}: No space left on device (") and re.search(what, full), full
        assert re.search(r"^failed: [\d,]+ entries .*for lack of room there$", done.stderr, re.M), done.stderr
        assert len(re.findall("^failed: ", done.stderr, re.M)) == 1, "not each file"
        assert "-sfl" in retry_of(done)


def test_who_ends_a_run_reads_how_to_go_on(on_tmpfs: Path) -> None:
    build(on_tmpfs, {"src": Dir({f"f{n}": File(b"x" * 100_000) for n in range(60)}), "private": Dir()})
    for options, resumed in (([], ["hpcp-mpi"]), (["--ledger", "private/l"], ["hpcp-mpi", "--resume"])):
        words = ["-L", "1M", *options, "src", "dst"]
        with PLAIN.start(["--json", on_tmpfs / "report", *words], cwd=on_tmpfs) as running:
            running.wait_for("copying")
            running.signal(15)
            done = running.finish()
        assert done.returncode == 75, str(done)
        (line,) = re.findall("^to resume: (.*)$", done.stderr, re.M)
        report = reports.check(json.loads((on_tmpfs / "report").read_text()))
        assert shlex.split(line) == report["resume"] and report["exit_code"] == 75
        assert report["resume"][: len(resumed)] == resumed and report["resume"][-len(words) :] == words
        assert report["left"]["files"] and not report["failure_count"] and "to do again" not in done.stderr

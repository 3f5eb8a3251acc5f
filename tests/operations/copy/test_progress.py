"""Progress of real runs: bytes move while files are copied, files get their names one by one, the time left is true."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import oracle
from tests.support.copies import PLAIN
from tests.support.effort import each_value
from tests.support.faultfs import mounted
from tests.support.launch import Finished, Running, World
from tests.support.marks import needs_commands, needs_fuse, worlds
from tests.support.trees import Dir, File, build

pytestmark = needs_commands("rsync")
MIB = 1 << 20
MPICH = worlds((4,), launchers=("mpich",))
JSON = ("--progress", "json", "--progress-interval", "0.1")
RANGES = ("--split-size", "4M")


def told(done: Finished) -> list[dict[str, Any]]:
    """The progress that was shown, as objects."""
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == "progress"]


def moves(samples: list[dict[str, Any]], phase: str, size: int, steps: int = 2) -> None:
    """Assert that bytes of one file that is under way moved, and that nothing went back; all was found by then.

    steps: how often at least. Ranks say once a second what they have done.
    """
    own = [each for each in samples if each["phase"] == phase]
    bytes_ = [each["bytes"] for each in own]
    assert len({each for each in bytes_ if 0 < each < size}) >= steps, bytes_
    assert bytes_ == sorted(bytes_) and bytes_[-1] <= size
    under_way = [each for each in own if each["bytes"] > 0]
    assert all(each["total_known"] and each["bytes_total"] == size for each in under_way)
    moved = [each for each in under_way if each["bytes"] > under_way[0]["bytes"]]
    assert len(moved) >= steps - 1 and all(
        each["remaining"] is not None and each["bytes_per_second"] > 0 for each in moved
    ), moved


@each_value
@pytest.mark.parametrize("world", [PLAIN, *MPICH], ids=str)
def test_bytes_move_while_one_big_file_is_copied_in_ranges(world: World, on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {"big": File(os.urandom(64 * MIB))})
    done = world.run([*JSON, *RANGES, "-L", "32Mi", on_tmpfs / "src/big", on_tmpfs / "dst/"])
    assert done.returncode == 0, str(done)
    moves(told(done), "copying", 64 * MIB)


def test_a_dry_run_does_not_say_that_it_copies_or_removes(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {f"f{number}": File(b"x") for number in range(1000)})
    build(on_tmpfs / "dst", {f"g{number}": File(b"x") for number in range(2000)})
    often = ["-n", "--progress", "json", "--progress-interval", "0.005"]
    mirror = PLAIN.run([*often, "-rme", on_tmpfs / "src", on_tmpfs / "dst"])
    removal = PLAIN.run([*often, "-rm", on_tmpfs / "dst"])
    for done, phase in ((mirror, "comparing"), (removal, "counting")):
        assert done.returncode == 0, str(done)
        phases = {each["phase"] for each in told(done)}
        assert phase in phases and not phases & {"copying", "removing"}


@needs_fuse
def test_bytes_move_while_one_cp_works_and_while_it_is_read_again(on_tmpfs: Path) -> None:
    """Each block takes 60 ms: some 6 s for the file, and less to read it again, as some are read side by side."""
    build(on_tmpfs / "src", {"big": File(os.urandom(16 * MIB))})
    (on_tmpfs / "backing").mkdir()
    with mounted(on_tmpfs / "backing", data_us=60_000) as mount:
        done = PLAIN.run([*JSON, "--split-size", "0", "--verify", on_tmpfs / "src/big", mount / "dst/"])
    assert done.returncode == 0, str(done)
    moves(told(done), "copying", 16 * MIB)
    moves(told(done), "verifying", 16 * MIB, steps=1)


class Named:
    """The files of a copy that have their names, with when that was seen first."""

    def __init__(self, dst: Path) -> None:
        self._dst = dst
        self.when: list[float] = []

    def look(self) -> int:
        names = [name for name in os.listdir(self._dst) if not name.startswith(".")] if self._dst.exists() else []
        self.when += [time.monotonic()] * (len(names) - len(self.when))
        return len(self.when)


def six_files(place: Path) -> None:
    build(place / "src", {f"f{i}": File(os.urandom(8 * MIB + MIB // 2)) for i in range(6)})


@pytest.mark.parametrize("world", [PLAIN, *MPICH], ids=str)
def test_after_half_of_the_time_half_of_the_files_have_their_names(world: World, on_tmpfs: Path) -> None:
    six_files(on_tmpfs)
    named, report = Named(on_tmpfs / "dst"), on_tmpfs / "report.json"
    options = ["--json", report, *RANGES, "-L", "24Mi"]
    with world.start([*options, f"{on_tmpfs}/src/", f"{on_tmpfs}/dst/"]) as running:
        while not running.ended:
            named.look()
            time.sleep(0.01)
        end = time.monotonic()
        done = running.finish()
    assert done.returncode == 0, str(done)
    half = end - json.loads(report.read_text())["seconds"] / 2
    assert 2 <= sum(when < half for when in named.when) <= 4, [end - when for when in named.when]
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")


def test_a_mirror_removes_of_what_is_extra_and_not_of_what_its_sources_hold(on_tmpfs: Path) -> None:
    same = {f"f{n}": File(b"", mtime_ns=10**18) for n in range(500)}
    build(on_tmpfs / "src", same)
    build(on_tmpfs / "dst", {**same, "extra": Dir({f"e{n}": File() for n in range(99)})})
    done = PLAIN.run([*JSON, "-rme", "-rf", "-F", "60", on_tmpfs / "src", on_tmpfs / "dst"]).check()
    totals = {line["entries_total"] for line in told(done) if line["phase"] == "removing"}
    assert totals and max(totals) <= 100, totals


def test_what_had_its_name_when_ctrl_c_came_is_whole_and_stays(on_tmpfs: Path) -> None:
    six_files(on_tmpfs)
    named = Named(on_tmpfs / "dst")
    with PLAIN.start([*RANGES, "-L", "16Mi", f"{on_tmpfs}/src/", f"{on_tmpfs}/dst/"]) as running:
        _until(running, lambda: named.look() >= 3)
        running.signal_group(signal.SIGINT)
        done = running.finish(20)
    assert done.returncode == 130, str(done)
    left = sorted(os.listdir(on_tmpfs / "dst"))
    assert 3 <= len(left) < 6 and all(re.fullmatch(r"f\d", name) for name in left)
    for name in left:
        assert (on_tmpfs / "dst" / name).read_bytes() == (on_tmpfs / "src" / name).read_bytes()


def _until(running: Running, happened: Any) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline and not running.ended, running.output()
        time.sleep(0.01)


@pytest.mark.parametrize("world", MPICH, ids=str)
def test_from_a_third_of_a_limited_run_on_the_time_left_is_within_a_fifth(world: World, on_tmpfs: Path) -> None:
    """Mixed sizes: ranges, single files, and many small ones."""
    small = {f"s{i}": File(os.urandom(2000)) for i in range(400)}
    some = {f"m{i}": File(os.urandom(3 * MIB)) for i in range(12)}
    big = {f"b{i}": File(os.urandom(18 * MIB)) for i in range(3)}
    build(on_tmpfs / "src", {"a": Dir(small), "b": Dir({**some}), "c": Dir({**big})})
    done = world.run([*JSON, *RANGES, "-L", "24Mi", f"{on_tmpfs}/src/", f"{on_tmpfs}/dst/"])
    assert done.returncode == 0, str(done)
    samples = [each for each in told(done) if each["phase"] == "copying"]
    end = samples[-1]["seconds"]
    for each in samples:
        left = end - each["seconds"]
        if end / 3 < each["seconds"] and left > 1:  # of the last second a chunk is a good part
            assert each["remaining"] == pytest.approx(left, rel=0.2, abs=0.3), f"at {each['seconds']} of {end}"

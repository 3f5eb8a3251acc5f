"""Lost ranks: one is killed while it works, the others do its work, and the report names it.

Real processes, under Open MPI with fault tolerance: other launchers end all when one rank dies. HPCP_MPI_CHAOS=N makes
N runs of each kind, each with another victim and moment (`make chaos`).
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.cluster.victims import RANKS, Ended, busy_for_the, open_below, pid_of, started, struck
from tests.support import oracle
from tests.support.copies import copy, stages
from tests.support.effort import seldom
from tests.support.faultfs import mounted
from tests.support.launch import Running, World
from tests.support.marks import needs_commands, needs_fuse
from tests.support.trees import Dir, File, HardLink, Name, Node, Symlink, build

MISSING = World("openmpi", RANKS).missing()
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING or ""),
    pytest.mark.mpi,
    needs_fuse,
    needs_commands("rsync"),
]
RUNS = int(os.environ.get("HPCP_MPI_CHAOS", "1"))
MIB = 1 << 20
SLOW = {"data_us": 2000, "meta_us": 300}  # the copy of the tree takes some seconds
SMALL = ("-f", "20")  # files in a chunk: many chunks, so that much is out


def small(count: int) -> dict[Name, Node]:
    return {f"file{i:03}": File(b"%d" % i * (i % 700), mtime_ns=5 + i) for i in range(count)}


def tree() -> dict[str, Node]:
    """A tree of small files, whole subtrees, big files and links between directories."""
    return {
        "wide": Dir({**small(150), "link": Symlink("file001")}, mode=0o750, mtime_ns=7),
        "trees": Dir({f"d{i}": Dir({"sub": Dir(small(8), mtime_ns=8), **small(12)}, mtime_ns=9) for i in range(12)}),
        "big": Dir({f"big{i}": File(os.urandom(5 * MIB), mtime_ns=6) for i in range(3)}, mtime_ns=10),
        "first": Dir({f"name{i}": File(b"linked %d" % i) for i in range(25)}, mtime_ns=11),
        "other": Dir({f"name{i}": HardLink(f"first/name{i}") for i in range(25)}, mtime_ns=12),
    }


@dataclass
class Trees:
    """A source, and a destination that is slow; or both are."""

    src: Path
    dst: Path
    backing: Path  # of dst
    place: Path

    def equal(self) -> None:
        assert stages(self.backing) == []
        oracle.assert_equal_trees(self.src, self.backing)


@pytest.fixture
def trees(on_tmpfs: Path) -> Iterator[Trees]:
    build(on_tmpfs / "src", tree())
    (on_tmpfs / "backing").mkdir()
    with mounted(on_tmpfs / "backing", **SLOW) as mount:  # type: ignore[arg-type]
        yield Trees(on_tmpfs / "src", mount / "dst", on_tmpfs / "backing/dst", on_tmpfs)


def half_done(trees: Trees) -> None:
    """Make a destination of which a part is equal, a part differs, and a part is missing."""
    copy(trees.src, trees.backing)
    for path in sorted(oracle.entries(trees.backing)):
        name = trees.backing / os.fsdecode(path)
        if name.is_file() and not name.is_symlink():
            digit = sum(path) % 4
            if digit == 0:
                name.unlink()
            elif digit == 1:
                os.utime(name, (1, 1))


def chances(kind: str) -> list[ParameterSet]:
    """The parameters of the runs of a kind: a victim and a moment for each."""
    found = []
    for number in range(RUNS):
        chance = random.Random(f"{kind} {number}")
        found.append(pytest.param(chance.randrange(1, RANKS), chance.randint(1, 12 if number else 5), id=f"{number}"))
    return found


def of_kinds(kinds: Iterable[str], later: Container[str] = ()) -> list[object]:
    """The parameters of the runs of all kinds; of `later` ones, which join what others have, where we go to the end."""
    marks = {kind: [pytest.mark.to_the_end] if kind in later else [] for kind in kinds}
    return [
        pytest.param(kind, *each.values, id=f"{kind}-{each.id}", marks=marks[kind])
        for kind in kinds
        for each in chances(kind)
    ]


def survived(ended: Ended, victim: int, trees: Trees) -> None:
    """Check that the run completed, and names the lost rank."""
    assert ended.done.returncode == 0, str(ended.done)
    assert ended.done.left_behind == (), str(ended.done)
    assert ended.report["exit_code"] == 0 and ended.report["failures"] == [], str(ended.done)
    assert set(ended.lost) == ({victim} if ended.struck else set()), str(ended.done)
    if ended.struck:
        node = os.uname().nodename
        assert f"lost: rank {victim} on {node} " in ended.done.stderr, str(ended.done)


def counted(ended: Ended, src: Path) -> None:
    """Check that every entry is found once and reported at least once."""
    entries = oracle.lstats(src)
    scanned, copied, skipped = (ended.report[name] for name in ("found", "copied", "identical"))
    assert sum(scanned[kind] for kind in ("files", "directories", "links", "other")) == len(entries)
    assert copied["files"] + skipped["files"] + ended.report["metadata_only"]["files"] >= scanned["files"]


COPIES = {
    "whole subtrees": (),
    "small chunks": SMALL,
    "all list": (*SMALL, "-pfl"),
    "big files": (*SMALL, "--split-size", "1M", "-j", "2"),
    "verified": (*SMALL, "--verify", "--split-size", "1M"),
}


@pytest.mark.parametrize("kind, victim, nth", of_kinds(COPIES))
def test_a_copy_is_completed_without_the_rank(kind: str, victim: int, nth: int, trees: Trees) -> None:
    ended = struck([*COPIES[kind], trees.src, trees.dst], [trees.dst], trees.place, victim, nth)
    survived(ended, victim, trees)
    trees.equal()
    counted(ended, trees.src)


SYNCS = {
    "re-sync": SMALL,
    "all list": (*SMALL, "-pfl"),
    "all list, big": (*SMALL, "-pfl", "--split-size", "1M"),
    "rates": (*SMALL, "-F", "400", "-L", "16M"),
    "mirror": (*SMALL, "-rme", "-rf"),
    "mirror, all list": (*SMALL, "-rme", "-rf", "-pfl"),
}


@pytest.mark.parametrize("kind, victim, nth", of_kinds(SYNCS, later=("all list, big", "rates", "mirror, all list")))
def test_a_destination_is_brought_up_to_date_without_the_rank(kind: str, victim: int, nth: int, trees: Trees) -> None:
    half_done(trees)
    extras = "-rme" in SYNCS[kind]
    if extras:
        build(trees.backing / "extra", {f"e{i}": Dir({f"x{j}": File(b"x") for j in range(10)}) for i in range(30)})
    ended = struck([*SYNCS[kind], f"{trees.src}/", f"{trees.dst}/"], [trees.dst], trees.place, victim, nth)
    survived(ended, victim, trees)
    trees.equal()
    counted(ended, trees.src)


def test_the_only_one_that_works_is_replaced_by_another(trees: Trees) -> None:
    with started(["--json", trees.place / "report.json", "-s", trees.src, trees.dst], 3.0) as running:
        pids = {rank: pid_of(rank, running) for rank in range(1, RANKS)}
        victim = next(rank for rank in itertools.cycle(pids) if open_below(pids[rank], [trees.dst]))
        others = [rank for rank in pids if rank != victim]
        os.kill(pids[others[0]], signal.SIGKILL)  # its replacement
        os.kill(pids[victim], signal.SIGKILL)
        done = running.finish()
    ended = Ended(done, json.loads((trees.place / "report.json").read_text()), True)
    assert done.returncode == 0 and set(ended.lost) == {victim, others[0]}, str(done)
    trees.equal()
    counted(ended, trees.src)


@pytest.mark.parametrize("victim, nth", chances("remove"))
def test_a_removal_is_completed_without_the_rank(victim: int, nth: int, trees: Trees) -> None:
    copy(trees.src, trees.backing)
    ended = struck(["-rm", "-rf", trees.dst], [trees.dst], trees.place, victim, min(nth, 3))
    survived(ended, victim, trees)
    assert not trees.backing.exists()


@pytest.mark.parametrize("victim, nth", chances("list"))
def test_a_list_is_complete_without_the_rank(victim: int, nth: int, trees: Trees) -> None:
    copy(trees.src, trees.backing)
    whole, found = trees.place / "whole", trees.place / "found"
    assert World("plain").run(["-fl", whole, trees.backing], cwd=trees.place).returncode == 0
    ended = struck(["-fl", found, trees.dst], [trees.dst], trees.place, victim, nth)
    survived(ended, victim, trees)
    expected = whole.read_bytes().replace(os.fsencode(trees.backing), os.fsencode(trees.dst))
    assert found.read_bytes().splitlines() == expected.splitlines()


@pytest.mark.parametrize("listing", [("-pfl",), *seldom([pytest.param((), id="rank-0-lists")])], ids=["all-list", None])
@pytest.mark.parametrize("victim, nth", chances("compare"))
def test_a_compare_finds_each_difference_once(victim: int, nth: int, listing: tuple[str, ...], trees: Trees) -> None:
    half_done(trees)
    build(trees.backing / "extra", {f"e{i}": Dir({f"x{j}": File(b"x") for j in range(5)}) for i in range(9)})
    expected = compared(trees.place, trees.src, trees.dst, *listing)
    ended = struck(["-cfl", *SMALL, *listing, trees.src, "-d", trees.dst], [trees.dst], trees.place, victim, nth)
    assert ended.done.returncode == 3, str(ended.done)
    assert set(ended.lost) == ({victim} if ended.struck else set()), str(ended.done)
    assert ended.report["differences"] == expected["differences"]
    assert ended.report["paths"] == expected["paths"]
    assert ended.report["found"] == expected["found"]


def compared(place: Path, src: Path, dst: Path, *options: str) -> dict[str, object]:
    report = place / "expected.json"
    assert World("plain").run(["--json", report, "-cfl", *SMALL, *options, src, "-d", dst]).returncode == 3
    return json.loads(report.read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("victim, nth", chances("stop"))
def test_a_stopped_rank_that_comes_back_leaves_and_gives_no_names(victim: int, nth: int, trees: Trees) -> None:
    def stop(pid: int, running: Running) -> None:
        os.kill(pid, signal.SIGSTOP)
        running.wait_for(rf"rank {victim} on \S+ sent no heartbeat for 5 s; its work goes to other ranks")
        os.kill(pid, signal.SIGCONT)
        running.wait_for(rf"rank {victim} on \S+ exits: ")

    ended = struck(
        [*SMALL, "--split-size", "1M", trees.src, trees.dst], [trees.dst], trees.place, victim, nth, stop, 5.0
    )
    assert set(ended.lost) == {victim}
    assert ended.report["exit_code"] == 0 and ended.report["failures"] == [], str(ended.done)
    assert ended.done.left_behind == (), str(ended.done)
    trees.equal()


def test_all_leave_when_rank_0_is_gone_and_the_next_run_completes_it(trees: Trees) -> None:
    with started([*SMALL, "--split-size", "1M", trees.src, trees.dst], 2.0) as running:
        assert busy_for_the(3, pid_of(1, running), [trees.dst], running)
        os.kill(pid_of(0, running), signal.SIGKILL)
        done = running.finish()
    assert done.returncode != 0
    assert done.left_behind == (), str(done)
    assert "Traceback" not in done.stderr, str(done)
    copy(trees.src, trees.backing)
    trees.equal()


def test_when_no_rank_is_left_the_run_ends_with_75_and_the_next_one_completes_it(trees: Trees) -> None:
    report = trees.place / "report.json"
    with started(["--json", report, *SMALL, trees.src, trees.dst], 2.0) as running:
        pids = [pid_of(rank, running) for rank in range(1, RANKS)]
        assert busy_for_the(3, pids[0], [trees.dst], running)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        done = running.finish()
    found = json.loads(report.read_text())
    assert found["exit_code"] == 75 and "(exit code 75)" in done.stderr, str(done)
    assert all(each["lost"] for each in found["ranks"]), found["ranks"]
    copy(trees.src, trees.backing)
    trees.equal()

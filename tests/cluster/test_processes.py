"""Workers that are processes of a run without MPI: their wire, and runs of which one is killed, or rank 0."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.cluster.channel import Channel, pair
from hpcp_mpi.host.roots import Pin
from hpcp_mpi.scheduling.rank_table import Ranks
from hpcp_mpi.vocab.report import RankShare
from tests.support import oracle
from tests.support.copies import stages
from tests.support.effort import many
from tests.support.launch import Running, run, start
from tests.support.marks import needs_commands
from tests.support.trees import File, build

SLOWLY = ("--file-rate-limit", "400")
COUNT = 800
SOON = 30.0


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    one, other = (Channel(end, Pin) for end in pair())
    yield one, other
    one.close()
    other.close()


# Messages by their lengths: of both ends, in any order; longer ones than a socket takes among them.
lengths = st.lists(
    st.tuples(st.booleans(), st.one_of(st.integers(0, 300), st.integers(0, 700_000))), min_size=1, max_size=12
)


@settings(max_examples=many(60), deadline=None)
@given(sent=lengths)
def test_messages_of_any_length_arrive_in_order_both_ways_and_no_end_waits_for_the_other(
    sent: list[tuple[bool, int]],
) -> None:
    ends = tuple(Channel(end, Pin) for end in pair())
    got: dict[bool, list[tuple[int, bytes]]] = {False: [], True: []}
    for number, (way, length) in enumerate(sent):
        ends[way].send((number, b"x" * length))
    deadline = time.monotonic() + SOON
    while len(got[False]) + len(got[True]) < len(sent):
        assert time.monotonic() < deadline
        for way in (False, True):
            ends[way].flush()
            got[not way] += ends[way].receive()
    for way in (False, True):
        assert got[way] == [(at, b"x" * length) for at, (came, length) in enumerate(sent) if came is way]
        ends[way].close()


def test_open_files_go_with_a_message_and_no_others_are_left_open(channels: tuple[Channel, Channel]) -> None:
    one, other = channels
    reader, writer = os.pipe()
    one.send(("with", Pin(writer)), with_files=True)
    one.send("after")
    (word, pin), after = other.receive() + other.receive()  # what comes with files the kernel gives alone
    assert (word, after) == ("with", "after")
    os.write(pin.fd, b"through it")
    assert os.read(reader, 100) == b"through it"
    del pin
    assert os.read(reader, 100) == b""  # the sender's is closed, too, as the message is gone
    os.close(reader)


def test_an_open_file_is_none_where_it_is_not_asked_for(channels: tuple[Channel, Channel]) -> None:
    one, other = channels
    one.send(Pin(os.open("/", os.O_RDONLY)))
    assert other.receive() == [None]


def test_the_end_comes_after_all_that_was_sent(channels: tuple[Channel, Channel]) -> None:
    one, other = channels
    one.send("last")
    one.close()
    select.select([other], [], [], SOON)
    assert other.receive() == ["last"]
    other.receive()
    assert other.ended
    other.send("nobody hears it")
    assert not other.sending


def test_a_stand_in_gets_nothing_while_others_are_there_and_all_when_they_are_lost() -> None:
    ranks = Ranks(stand_in=1)
    ranks.add(RankShare(1, "n", 8))
    assert ranks.emptiest() is ranks[1] and ranks.slots == 8
    ranks.add(RankShare(2, "n", 4))
    ranks.add(RankShare(3, "n", 4))
    assert ranks[1].paused and ranks.slots == 8
    ranks.pause({2})  # as asked by others
    assert ranks[1].paused and ranks.slots == 4
    ranks.pause(())
    ranks.lose(ranks[2], "gone")
    assert ranks[1].paused and ranks.slots == 4
    ranks.lose(ranks[3], "gone")
    assert ranks.emptiest() is ranks[1] and ranks.slots == 8


# --- runs


@pytest.fixture
def src(on_tmpfs: Path) -> Path:
    build(on_tmpfs / "src", {f"file{i:04}": File(b"%d" % i * (i % 50), mtime_ns=5 + i) for i in range(COUNT)})
    return on_tmpfs / "src"


def parent_of(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def workers_of(running: Running) -> list[int]:
    """Wait for the worker processes of a run, which are children of a child of it; return them."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline and not running.ended:
        pythons = [each.pid for each in running.processes() if each.is_python]
        found = [each for each in pythons if parent_of(each) in pythons and parent_of(parent_of(each)) == running.pid]
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"no workers: {running.output()}")


@needs_commands("rsync")
def test_others_do_the_work_of_a_worker_that_is_killed_and_the_report_names_it(src: Path) -> None:
    dst, report = src.parent / "dst", src.parent / "report.json"
    with start([*SLOWLY, "--json", report, src, dst], flavour="plain") as running:
        os.kill(workers_of(running)[0], signal.SIGKILL)
        done = running.finish()
    assert done.returncode == 0, str(done)
    oracle.assert_equal_trees(src, dst)
    assert stages(dst) == [] and done.left_behind == ()
    told = json.loads(report.read_text())
    assert told["processes"] == 1 and [bool(share["lost"]) for share in told["ranks"]] == [False, True]
    assert "has ended before its work was done; its work goes to other ranks" in done.stderr
    assert "lost: rank " in done.stderr


def test_the_thread_goes_on_when_all_workers_are_killed(src: Path) -> None:
    dst = src.parent / "dst"
    with start([*SLOWLY, "-j", "2", src, dst], flavour="plain") as running:
        for worker in workers_of(running):
            os.kill(worker, signal.SIGKILL)
        assert running.finish().returncode == 0
    oracle.assert_equal_trees(src, dst)


def test_all_processes_end_when_rank_0_is_killed(src: Path) -> None:
    with start([*SLOWLY, src, src.parent / "dst"], flavour="plain") as running:
        workers_of(running)
        running.signal(signal.SIGKILL)
        assert running.finish().left_behind == ()


def test_a_run_with_workers_is_one_rank_to_its_user(src: Path) -> None:
    report = src.parent / "report.json"
    with start([*SLOWLY, "-v", "--json", report, src, src.parent / "dst"], flavour="plain") as running:
        workers_of(running)
        done = running.finish()
    told = json.loads(report.read_text())
    (share,) = told["ranks"]
    assert share["rank"] == 1 and share["copied"]["files"] == COUNT and told["processes"] == 1
    assert {sample["ranks"] for sample in told["timeline"]} <= {0, 1}
    assert "1 rank (coordinates and copies)" in done.stderr and "rank 2" not in done.stderr


# The command, whose process can fork so many times.
FORKS = """
import os, sys
def fork(fork=os.fork, left=[None] * {}):
    if not left:
        raise OSError(11, "injected")
    left.pop()
    return fork()
os.fork = fork
from hpcp_mpi.cli.main import console
console()
"""


@pytest.mark.parametrize("times", [0, 1])
def test_the_thread_works_where_no_process_can_be_forked(src: Path, times: int) -> None:
    done = run([*SLOWLY, src, src.parent / "dst"], flavour="plain", python_args=("-c", FORKS.format(times)))
    assert done.returncode == 0 and done.left_behind == (), str(done)
    assert "lost" not in done.stderr, str(done)
    oracle.assert_equal_trees(src, src.parent / "dst")


API = """
import os, sys, hpcp_mpi
def no(): raise AssertionError("forked")
os.fork = no
hpcp_mpi.copy(sys.argv[1], sys.argv[2])
"""


def test_the_python_api_does_not_fork(src: Path) -> None:
    done = run([src, src.parent / "dst"], flavour="plain", python_args=("-c", API))
    assert done.returncode == 0, str(done)

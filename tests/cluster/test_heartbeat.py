"""Heartbeats: the failure detector, the sender, and both loops when the network fails."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from hpcp_mpi.cluster import heartbeat as pulses
from hpcp_mpi.cluster import worker_loop as following
from hpcp_mpi.cluster.coordinator_loop import CoordinatorLoop
from hpcp_mpi.cluster.feed import Stream
from hpcp_mpi.cluster.heartbeat import FailureDetector, HeartbeatSender
from hpcp_mpi.cluster.signals import StoppedEarly, StopRequest
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.cluster.worker_loop import CutOff, follow
from hpcp_mpi.scheduling.backlog import Backlog
from hpcp_mpi.scheduling.cost_model import CostModel
from hpcp_mpi.scheduling.messages import Heartbeat, Shutdown
from hpcp_mpi.scheduling.planner import Planner
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units
from tests.cluster.fallible import FallibleWire, fallible_cluster

TIMEOUT = 2.0  # seconds of silence
SOON = 30.0  # nothing here takes so long


# --- the failure detector


def test_who_is_silent_is_told_once() -> None:
    pulse = FailureDetector(10.0, (1, 2), 100.0)
    found = []
    for second in range(101, 130):
        pulse.record_alive(1)
        found += pulse.silent(float(second))
    assert found == [2]


def test_whoever_was_away_does_not_take_the_others_for_lost() -> None:
    """Their messages wait to be read: an hour in which this rank did not listen is no hour of silence."""
    pulse = FailureDetector(10.0, (1, 2), 100.0)
    assert pulse.silent(3700.0) == []
    for second in range(1, 10):
        assert pulse.silent(3700.0 + second) == []
    assert pulse.silent(3709.5) == [1, 2]


def test_without_a_time_nobody_is_lost_and_whoever_is_unknown_is_ignored() -> None:
    pulse = FailureDetector(0.0, (1,), 0.0)
    assert [pulse.silent(float(second)) for second in range(1000)] == [[]] * 1000
    pulse.record_alive(7)
    assert FailureDetector(1.0, (), 0.0).silent(50.0) == []


# --- the sender


def wait_until(happened: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SOON
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_a_heart_beats_for_all_that_are_named_and_ends() -> None:
    wires = fallible_cluster(3, 0.5)
    heart = HeartbeatSender(wires[0], lambda: (1, 2))
    for wire in wires[1:]:
        wait_until(wire.receive, "no sign of life")
        wait_until(lambda wire=wire: wire.receive() == (0, Heartbeat()), "no second one")  # type: ignore[misc]
    heart.end()
    assert not heart.stalled and wires[0].receive() is None


def test_a_heart_notices_that_its_process_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = [0.0]
    monkeypatch.setattr(pulses, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0]))
    wire = fallible_cluster(2, 60.0)[1]
    heart = HeartbeatSender(wire, lambda: (0,))
    assert not heart.stalled
    ahead[0] = 50.0
    wait_until(lambda: heart.stalled, "48 of 60 seconds are too long")
    heart.end()


# --- the loops


def batches(count: int, each: int = 10) -> list[Batch]:
    return [
        Batch(
            Kind.COPY, 0, b"%d" % at, b"%d" % at, Units.of(Unit(b"%d.%d" % (at, i), Tally(1), 10) for i in range(each))
        )
        for at in range(count)
    ]


class FakeRunner:
    """A runner whose bites wait while the gate is closed. Like the real one it does nothing after its deadline."""

    slots = 2
    bite_weight = 30
    file_cost = 1

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.did: Counter[bytes] = Counter()
        self.stopped = False
        self.expires = float("inf")
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        return self.stopped or time.monotonic() > self.expires

    def work(self, given: list[Batch]) -> Outcome | None:
        self.entered.set()
        while not self.gate.wait(0.01):
            if self.over:
                return None
        if self.over:
            return None
        with self._lock:
            self.did.update(unit.name for batch in given for unit in batch.units)
        return Outcome(copied=Tally(sum(len(batch.units) for batch in given)), seconds=0.001)

    def moved(self) -> int:
        return 0

    def counted(self) -> None:
        """Do nothing: nothing is counted before it is done."""

    def release(self) -> None:
        """Do nothing: no file is open."""

    def stop(self) -> None:
        self.stopped = True

    def drain(self) -> None:
        """Do nothing: no bite takes long."""

    def set_deadline(self, moment: float) -> None:
        self.expires = moment

    def close(self) -> None:
        """Do nothing: no stage is left."""


class Cluster:
    """Rank 0 in the test's thread; two workers or so in threads of their own."""

    def __init__(self, workers: int = 2, heartbeat: float = TIMEOUT) -> None:
        self.wires = fallible_cluster(workers + 1, TIMEOUT)
        self.runners = {rank: FakeRunner() for rank in range(1, workers + 1)}
        self.ends: dict[int, Any] = {}
        self.lost: dict[int, str] = {}
        weights = CostModel(0.1, 10, 100)
        self.planner = Planner(Backlog(weights), weights, 0.1, remember=True)
        self.lead = CoordinatorLoop(
            self.wires[0],
            self.planner,
            lambda: 0,
            StopRequest(),
            lambda: None,
            heartbeat,
            lambda rank, why: self.lost.update({rank: why}),
        )
        self.heart = HeartbeatSender(
            self.wires[0], lambda: [rank for rank in self.runners if rank not in self.wires[0].lost]
        )
        self.threads = {wire.rank: threading.Thread(target=self._work, args=(wire,)) for wire in self.wires[1:]}
        for thread in self.threads.values():
            thread.start()

    def _work(self, wire: FallibleWire) -> None:
        def opened(job: Any, of: Wire) -> FakeRunner:
            return self.runners[of.rank]

        try:
            self.ends[wire.rank] = follow(wire, opened, StopRequest())
        except BaseException as error:
            self.ends[wire.rank] = error

    def do(self, count: int) -> None:
        self.lead.begin("the job")
        self.lead.drive(Stream(batches(count)))

    def when_at_work(self, rank: int, then: Callable[[], None], opened: int = 0) -> None:
        """Call then as soon as a rank works. opened: a rank that may do its work after that, not before"""

        def waiting() -> None:
            assert self.runners[rank].entered.wait(SOON)
            then()
            if opened:
                self.runners[opened].gate.set()

        threading.Thread(target=waiting).start()

    def end(self) -> None:
        self.heart.end()
        for wire in self.wires[1:]:
            self.wires[0].send_farewell(wire.rank, Shutdown("the report"))
        for thread in self.threads.values():
            thread.join(SOON)
            assert not thread.is_alive()


def all_but_done(cluster: Cluster, count: int) -> None:
    """Check that count units are done, and that the rest is to be listed again."""
    todo = {each.source_dir for each in cluster.planner.todo}
    known = cluster.runners[1].did
    for batch in batches(count):
        assert batch.source_dir in todo or all(known[unit.name] for unit in batch.units), batch.source_dir


def cut(cluster: Cluster, rank: int) -> None:
    cluster.wires[0].cut.add(rank)
    cluster.wires[rank].cut.add(0)


def test_a_rank_that_is_cut_off_is_lost_and_leaves_by_itself() -> None:
    cluster = Cluster()
    cluster.planner.whole = False
    cluster.when_at_work(2, lambda: cut(cluster, 2), opened=1)
    cluster.do(30)
    assert cluster.lost == {2: "sent no heartbeat for 2 s"}
    cluster.threads[2].join(SOON)
    assert isinstance(cluster.ends[2], CutOff) and "sent no heartbeat" in str(cluster.ends[2])
    assert cluster.runners[2].stopped and not cluster.runners[2].did
    all_but_done(cluster, 30)
    cluster.end()
    assert cluster.ends[1] == "the report"


def test_a_rank_that_is_not_heard_but_hears_is_told_to_leave() -> None:
    cluster = Cluster()
    cluster.when_at_work(2, lambda: cluster.wires[2].cut.add(0), opened=1)
    cluster.do(30)
    cluster.threads[2].join(SOON)
    assert isinstance(cluster.ends[2], CutOff) and "considers it lost" in str(cluster.ends[2])
    assert cluster.runners[2].stopped and not cluster.runners[2].did
    assert sum(cluster.runners[1].did.values()) == 300, "all by name"
    cluster.end()


def test_what_a_lost_rank_says_later_is_answered_with_leave_and_ignored() -> None:
    cluster = Cluster()
    cluster.when_at_work(2, lambda: cluster.wires[0].suspects.add(2), opened=1)
    cluster.do(30)
    assert cluster.lost == {2: "is unreachable"}
    assert cluster.planner.outcome.copied.files == 300
    cluster.threads[2].join(SOON)
    cluster.wires[2].send_farewell(0, Heartbeat())
    cluster.lead.drive(Stream(batches(2)))
    assert cluster.wires[2].receive() == (0, Shutdown(lost=True))
    assert cluster.planner.outcome.copied.files == 320
    assert cluster.lost == {2: "is unreachable"}, "said once"
    cluster.end()


def test_a_rank_that_was_stopped_for_long_does_nothing_more_however_late_it_reads_what_was_sent_to_it() -> None:
    cluster = Cluster()
    runner, wire = cluster.runners[2], cluster.wires[2]

    def stop() -> None:
        wire.held.clear()
        wait_until(lambda: cluster.lost or runner.over, "its time is not over")
        wait_until(lambda: time.monotonic() > runner.expires, "its time is not over")
        runner.gate.set()  # its bite is complete, and waits for its names
        wire.held.set()

    cluster.when_at_work(2, stop, opened=1)
    # Its heartbeats continue here, so rank 0 does not miss it until it leaves.
    cluster.do(30)
    cluster.threads[2].join(SOON)
    assert isinstance(cluster.ends[2], CutOff), cluster.ends[2]
    assert not runner.did
    assert sum(cluster.runners[1].did.values()) == 300
    cluster.end()


def test_when_no_rank_is_left_the_run_stops_early() -> None:
    cluster = Cluster()
    for rank in cluster.runners:
        cluster.when_at_work(rank, lambda rank=rank: cut(cluster, rank))  # type: ignore[misc]
    with pytest.raises(StoppedEarly) as stopped:
        cluster.do(30)
    assert stopped.value.code == 75
    assert set(cluster.lost) == {1, 2}
    cluster.end()
    assert all(isinstance(end, CutOff) for end in cluster.ends.values())


def test_all_leave_when_rank_0_is_silent() -> None:
    cluster = Cluster()
    cluster.lead.begin("the job")
    for rank in cluster.runners:
        wait_until(lambda rank=rank: cluster.wires[0].receive(), "no Hello")  # type: ignore[misc]
    cluster.heart.end()
    for thread in cluster.threads.values():
        thread.join(SOON)
    assert all(isinstance(end, CutOff) for end in cluster.ends.values()) and len(cluster.ends) == 2
    assert all(runner.stopped for runner in cluster.runners.values())


def test_without_heartbeats_nobody_leaves_and_nobody_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "DEFAULT", 0.5)
    cluster = Cluster(heartbeat=0.0)
    began = time.monotonic()

    def later() -> None:
        wait_until(lambda: time.monotonic() > began + 1.0, "a second")
        for runner in cluster.runners.values():
            runner.gate.set()

    cluster.when_at_work(2, later)
    cluster.do(30)
    assert not cluster.lost
    assert sum((runner.did for runner in cluster.runners.values()), Counter[bytes]()).total() == 300
    cluster.end()
    assert cluster.ends == {1: "the report", 2: "the report"}

"""The loops of rank 0 and of workers, over threads, with a runner that only counts."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from hpcp_mpi.cluster import signals
from hpcp_mpi.cluster.coordinator_loop import CoordinatorLoop
from hpcp_mpi.cluster.feed import Stream
from hpcp_mpi.cluster.signals import StoppedEarly, StopRequest
from hpcp_mpi.cluster.threads import ThreadWire, thread_cluster
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.cluster.worker_loop import follow
from hpcp_mpi.scheduling.backlog import Backlog
from hpcp_mpi.scheduling.cost_model import CostModel
from hpcp_mpi.scheduling.messages import Shutdown
from hpcp_mpi.scheduling.planner import Planner
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

SOON = 30.0  # seconds; nothing here takes one


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a stop wait for what never ends for half a second, not for five."""
    monkeypatch.setattr(signals, "SOON", 0.5)


def batches(count: int, each: int = 10) -> list[Batch]:
    return [
        Batch(Kind.COPY, 0, b"", b"", Units.of(Unit(b"%d.%d" % (at, unit), Tally(1), 10) for unit in range(each)))
        for at in range(count)
    ]


class FakeRunner:
    """A runner with up to two slots; the second is started when there is work for it. do: the work of a bite."""

    slots = 2
    bite_weight = 30
    file_cost = 1

    def __init__(self, do: Callable[[list[Batch]], None]) -> None:
        self._do = do
        self.did: Counter[bytes] = Counter()
        self.worked: set[threading.Thread] = set()  # slots that were at work
        self.releasers: list[threading.Thread] = []  # slots that released it
        self.closed_after: list[int] = []  # slots that had ended when it was closed
        self.stopped = threading.Event()
        self._lock = threading.Lock()

    @property
    def released(self) -> int:
        return len(self.releasers)

    @property
    def was_left_by_all(self) -> bool:
        """Whether each slot that was at work released it, and each that did so did it once."""
        with self._lock:
            left = set(self.releasers)
            return self.worked <= left and 0 < len(left) == len(self.releasers) <= self.slots

    def work(self, given: list[Batch]) -> Outcome | None:
        with self._lock:
            self.worked.add(threading.current_thread())
        self._do(given)
        if self.stopped.is_set():
            return None
        with self._lock:
            self.did.update(unit.name for batch in given for unit in batch.units)
        return Outcome(copied=Tally(sum(len(batch.units) for batch in given)), seconds=0.001)

    def moved(self) -> int:
        return 0

    def counted(self) -> None:
        """Do nothing: nothing is counted before it is done."""

    def release(self) -> None:
        with self._lock:
            self.releasers.append(threading.current_thread())

    def stop(self) -> None:
        self.stopped.set()

    def drain(self) -> None:
        """Do nothing: no bite takes long."""

    def set_deadline(self, moment: float) -> None:
        raise AssertionError("threads are never cut off")

    def close(self) -> None:
        self.closed_after.append(self.released)


@dataclass
class Cluster:
    """Rank 0 in the test's thread, and workers in threads of their own."""

    workers: int
    do: Callable[[list[Batch]], None] = lambda given: None
    make_runner: Callable[[Any, Wire], FakeRunner] | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    runners: list[FakeRunner] = field(default_factory=list)
    ends: list[Any] = field(default_factory=list)  # what each worker's loop returned or raised
    jobs: list[Any] = field(default_factory=list)
    stopped_early: list[int] = field(default_factory=list)  # exit codes

    def __post_init__(self) -> None:
        self.wires = thread_cluster(self.workers + 1)
        weights = CostModel(0.1, 10, 100)
        self.planner = Planner(Backlog(weights), weights, 0.1)
        self.stops = [StopRequest() for _ in self.wires]
        self.lead = CoordinatorLoop(self.wires[0], self.planner, lambda: 0, self.stop, lambda: None)
        self._threads = [threading.Thread(target=self._worker, args=(wire,)) for wire in self.wires[1:]]
        for thread in self._threads:
            thread.start()

    def _open(self, job: Any, wire: Wire) -> FakeRunner:
        self.jobs.append(job)
        self.runners.append(FakeRunner(self.do))
        return self.runners[-1]

    def _worker(self, wire: ThreadWire) -> None:
        self.stops[wire.rank].notify(wire.wake)
        try:
            self.ends.append(follow(wire, self.make_runner or self._open, self.stops[wire.rank]))
        except BaseException as error:
            self.ends.append(error)

    def driven_until_stopped(self) -> threading.Thread:
        """Lead in another thread; stopped_early gets the exit code."""

        def drive() -> None:
            try:
                self.lead.drive(Stream(batches(9)))
            except StoppedEarly as early:
                self.stopped_early.append(early.code)

        driver = threading.Thread(target=drive)
        driver.start()
        return driver

    def dismiss(self, leave: Shutdown) -> None:
        for wire in self.wires[1:]:
            self.wires[0].send(wire.rank, leave)
        for thread in self._threads:
            thread.join(SOON)
            assert not thread.is_alive()


@pytest.mark.parametrize("workers", [1, 3])
def test_all_units_are_done_once_and_the_workers_get_rank_0s_last_word(workers: int) -> None:
    cluster = Cluster(workers)
    cluster.lead.begin("the job")
    cluster.lead.drive(Stream(batches(50)))
    cluster.lead.drive(Stream(batches(3, each=1)))  # another phase, with the same workers
    cluster.dismiss(Shutdown("the report"))
    did = sum((runner.did for runner in cluster.runners), Counter[bytes]())
    expected = Counter(unit.name for batch in [*batches(50), *batches(3, each=1)] for unit in batch.units)
    assert did == expected
    assert cluster.planner.outcome.copied.files == 503
    assert cluster.jobs == ["the job"] * workers
    assert cluster.ends == ["the report"] * workers
    assert all(runner.was_left_by_all and not runner.stopped.is_set() for runner in cluster.runners)
    ended = [[runner.released] for runner in cluster.runners]
    assert [runner.closed_after for runner in cluster.runners] == ended, "once, when all slots had ended"


def test_nothing_to_do_is_done_when_all_workers_have_said_hello() -> None:
    cluster = Cluster(2)
    cluster.lead.begin(None)
    cluster.lead.drive(Stream([]))
    assert [share.rank for share in cluster.planner.shares] == [1, 2]
    cluster.dismiss(Shutdown())


def test_leaving_at_once_stops_what_runs_and_frees_every_slot() -> None:
    busy = threading.Barrier(3)
    release = threading.Event()

    def do(given: list[Batch]) -> None:
        busy.wait(SOON)
        release.wait(SOON)

    cluster = Cluster(1, do)
    cluster.lead.begin(None)
    driver = cluster.driven_until_stopped()
    busy.wait(SOON)  # both slots are at work
    cluster.stop.ask(signal.SIGTERM)
    driver.join(SOON)
    assert cluster.stopped_early == [75]
    cluster.wires[0].send(1, Shutdown(stop=True))
    assert cluster.runners[0].stopped.wait(SOON)
    release.set()
    cluster.dismiss(Shutdown())
    (runner,) = cluster.runners
    assert (runner.released, sum(runner.did.values()), runner.closed_after) == (2, 0, [2])


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_a_signal_to_rank_0_ends_the_run_early_with_its_code(number: int, code: int) -> None:
    cluster = Cluster(2)
    cluster.stop.ask(number)
    cluster.lead.begin(None)
    with pytest.raises(StoppedEarly) as early:
        cluster.lead.drive(Stream(batches(9)))
    assert (early.value.code, early.value.name) == (code, signal.Signals(number).name)
    cluster.dismiss(Shutdown(stop=True))


def test_a_signal_to_a_worker_ends_the_run_early_too() -> None:
    cluster = Cluster(2)
    cluster.do = lambda given: cluster.stops[2].ask(signal.SIGTERM)
    cluster.lead.begin(None)
    with pytest.raises(StoppedEarly) as early:
        cluster.lead.drive(Stream(batches(500)))
    assert early.value.code == 75
    cluster.dismiss(Shutdown(stop=True))


def test_a_runner_that_cannot_be_made_ends_the_run_with_what_it_says() -> None:
    def refuse(job: Any, wire: Wire) -> FakeRunner:
        raise FatalError(f"rank {wire.rank} has no /scratch", "Mount it.")

    cluster = Cluster(1, make_runner=refuse)
    cluster.lead.begin(None)
    with pytest.raises(FatalError, match=r"rank 1 has no /scratch\n  Mount it\."):
        cluster.lead.drive(Stream(batches(1)))
    cluster.dismiss(Shutdown(stop=True))


def test_what_a_slot_raises_ends_its_workers_life_with_it() -> None:
    def do(given: list[Batch]) -> None:
        raise ValueError("in a slot")

    cluster = Cluster(1, do)
    cluster.lead.begin(None)
    driver = cluster.driven_until_stopped()
    cluster._threads[0].join(SOON)
    cluster.stop.ask(signal.SIGTERM)
    driver.join(SOON)
    assert cluster.stopped_early == [75]
    (error,) = cluster.ends
    assert isinstance(error, ValueError) and str(error) == "in a slot"
    assert cluster.runners[0].stopped.is_set()


class Listening(Stream):
    """A feed of known work that is not done before enough findings came."""

    def __init__(self, known: list[Batch], enough: int) -> None:
        super().__init__(known)
        self._known_taken = False
        self._enough = enough
        self.heard: list[Any] = []

    @property
    def done(self) -> bool:
        return self._known_taken and len(self.heard) >= self._enough

    @done.setter
    def done(self, taken: bool) -> None:
        self._known_taken = taken

    def on_findings(self, news: list[Any]) -> None:
        self.heard += news


def test_what_workers_find_is_done_and_what_they_tell_reaches_the_feed() -> None:
    class Finding(FakeRunner):
        def work(self, given: list[Batch]) -> Outcome | None:
            outcome = super().work(given)
            assert outcome is not None
            for batch in given:
                if batch.dest_dir == b"":
                    outcome.findings.append(batch.units.names)
                    outcome.new_work.append(replace(batch, dest_dir=b"found"))
            return outcome

    runners: list[FakeRunner] = []

    def make_runner(job: Any, wire: Wire) -> FakeRunner:
        runners.append(Finding(lambda given: None))
        return runners[-1]

    cluster = Cluster(2, make_runner=make_runner)
    cluster.lead.begin(None)
    feed = Listening(batches(9, each=1), enough=9)
    cluster.lead.drive(feed)
    cluster.dismiss(Shutdown())
    names = [b"%d.0" % number for number in range(9)]
    assert sorted(feed.heard) == [[name] for name in names]
    assert sum((runner.did for runner in runners), Counter[bytes]()) == Counter(names * 2)


def test_a_stream_is_taken_as_it_is_needed_and_not_while_it_is_held() -> None:
    made = 0

    def endless() -> Iterator[Batch]:
        nonlocal made
        while True:
            made += 1
            yield from batches(1)

    stream = Stream(endless())
    taken = len(stream.next_batches())
    assert 0 < taken == made < 1000 and not stream.done
    stream.pause(True)
    assert (stream.next_batches(), made) == ([], taken)
    stream.pause(False)
    assert stream.next_batches()


def test_messages_between_two_ranks_keep_their_order() -> None:
    one, other = thread_cluster(2)
    for number in range(5):
        one.send(1, Shutdown(number))
    assert [other.receive() for _ in range(6)] == [*((0, Shutdown(number)) for number in range(5)), None]


def test_a_wait_is_ended_by_a_message_and_by_a_wake() -> None:
    one, other = thread_cluster(2)
    one.send(1, Shutdown())
    other.wait(10**6)
    other.wake()
    other.wait(10**6)


def test_nothing_is_done_before_all_have_begun_a_job_that_is_begun_together() -> None:
    begun: list[int] = []
    seen: list[int] = []

    def begin(job: Any, wire: Wire) -> FakeRunner:
        while wire.rank > 1 + len(begun):  # one after the other
            time.sleep(0.001)
        time.sleep(0.02)
        begun.append(wire.rank)
        return cluster._open(job, wire)

    cluster = Cluster(3, lambda given: seen.append(len(begun)), begin)
    cluster.lead.begin("the job", together=True)
    cluster.lead.drive(Stream(batches(20)))
    cluster.dismiss(Shutdown(None))
    assert begun == [1, 2, 3] and set(seen) == {3}


def test_a_second_job_begins_when_the_first_is_done_and_ends_its_slots() -> None:
    cluster = Cluster(2)
    cluster.lead.begin("the first")
    cluster.lead.drive(Stream(batches(9)))
    weights = CostModel(0.1, 10, 100)
    again = CoordinatorLoop(
        cluster.wires[0], Planner(Backlog(weights), weights, 0.1), lambda: 0, StopRequest(), lambda: None
    )
    again.begin("the second")
    again.drive(Stream(batches(9)))
    cluster.dismiss(Shutdown(None))
    assert sorted(cluster.jobs) == ["the first", "the first", "the second", "the second"]
    did = sum((runner.did for runner in cluster.runners), Counter[bytes]())
    assert set(did.values()) == {2} and len(did) == sum(len(batch.units) for batch in batches(9))
    assert all(runner.was_left_by_all for runner in cluster.runners)

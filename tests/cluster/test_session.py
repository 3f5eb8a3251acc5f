"""Errors that end a run end it for all ranks: over threads, as in a run without MPI."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import hpcp_mpi
from hpcp_mpi.cluster.signals import StopRequest
from hpcp_mpi.cluster.threads import thread_cluster
from hpcp_mpi.cluster.transport import Wire
from hpcp_mpi.operations import session
from hpcp_mpi.scheduling.messages import Grant, Shutdown, StartJob, WorkerFailed
from hpcp_mpi.vocab.errors import FatalError
from hpcp_mpi.vocab.units import Batch, Chunk, Kind, Unit, Units
from tests.support.trees import Dir, File, build


@pytest.fixture
def source(tmp_path: Path) -> Path:
    build(tmp_path / "src", {"a": File(b"a"), "d": Dir({"b": File(b"b")})})
    return tmp_path / "src"


def test_a_slot_that_raises_ends_the_run_with_its_traceback_and_its_words(
    source: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(place: object, batches: object) -> None:
        raise ValueError("injected")

    monkeypatch.setattr("hpcp_mpi.operations.worker.work", broken)
    with pytest.raises(FatalError, match=r"rank 1 on .* broke down: ValueError: injected"):
        hpcp_mpi.copy(source, source.parent / "dst")
    assert "in broken" in capfd.readouterr().err


def test_what_rank_0s_scan_raises_comes_out_of_the_call(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*anything: object) -> None:
        raise ZeroDivisionError("injected")

    monkeypatch.setattr("hpcp_mpi.operations.scan.rank0.Scan._step", broken)
    with pytest.raises(ZeroDivisionError, match="injected"):
        hpcp_mpi.copy(source, source.parent / "dst")


def test_workers_are_let_go_whatever_rank_0s_work_raises() -> None:
    before = threading.active_count()
    with pytest.raises(KeyError), session.lead(None, StopRequest()):
        raise KeyError("injected")
    assert threading.active_count() == before


def test_workers_get_the_fatal_error_that_ended_rank_0() -> None:
    zero, one = thread_cluster(2)
    error = FatalError("no")

    with pytest.raises(FatalError), session.lead(zero, StopRequest()):
        raise error
    assert one.receive() == (0, Shutdown(error, stop=True))


def test_a_worker_that_breaks_down_says_so_and_waits_to_be_let_go() -> None:
    zero, one = thread_cluster(2)
    zero.send(1, "no message")  # type: ignore[arg-type]
    zero.send(1, Shutdown())
    result = session.serve(one, StopRequest())
    assert isinstance(result, FatalError)
    received = zero.receive()
    assert received is not None and isinstance(received[1], WorkerFailed)
    assert received[1].message.startswith("rank 1 on ") and "TypeError: not a message" in received[1].message
    assert received[1].code == 1


def test_a_worker_leaves_though_a_slot_never_comes_back_from_the_storage_and_says_where_that_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    began, answer = threading.Event(), threading.Event()

    class FakeRunner:
        slots, bite_weight, file_cost = 2, 1, 1

        def __init__(self, job: object, wire: Wire) -> None:
            pass

        def work(self, batches: list[Batch]) -> None:
            began.set()
            answer.wait()

        def stop(self) -> None:
            pass

        def moved(self) -> int:
            return 0

        def counted(self) -> None:
            """Do nothing: nothing is counted before it is done."""

        def release(self) -> None:
            pass

        def close(self) -> None:
            answer.wait()  # it is the same storage

    monkeypatch.setattr("hpcp_mpi.operations.session.JobWorker", FakeRunner)
    monkeypatch.setattr("hpcp_mpi.cluster.worker_loop._LEAVING", 0.1)
    zero, one = thread_cluster(2)
    zero.send(1, StartJob(None))
    zero.send(1, Grant((Chunk(1, (Batch(Kind.COPY, 0, b"s", b"d", Units.of([Unit(b"file")])),)),), (1.0,)))
    worker = threading.Thread(target=session.serve, args=(one, StopRequest()))
    worker.start()
    try:
        assert began.wait(10)
        zero.send(1, Shutdown(stop=True))
        worker.join(10)
        assert not worker.is_alive()
    finally:
        answer.set()
        worker.join()
    assert "rank 1 on " in (said := capfd.readouterr().err)
    assert said.count("waits for storage that does not answer, at `copy` of d/file") == 1

"""A program that watches and ends a run: progress=, should_stop=, the log; and a process that stays as it was."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hpcp_mpi
from hpcp_mpi import Progress, Report
from tests.support import oracle
from tests.support.trees import Dir, File, build

SLOW = 60  # files a second, so that a run of some hundred lasts


@pytest.fixture
def source(on_tmpfs: Path) -> Path:
    build(on_tmpfs / "src", {f"{number:03}": File(b"x" * 10_000) for number in range(300)})
    return on_tmpfs / "src"


def slowly(source: Path, **keywords: object) -> Report:
    """A copy that takes five seconds if it is let."""
    keywords = {"file_rate_limit": SLOW, "files_per_job": 5, **keywords}
    return hpcp_mpi.copy(source, source.parent / "dst", **keywords)  # type: ignore[arg-type]


def leftovers(place: Path) -> list[str]:
    return [path.name for path in place.rglob(".hpcp-mpi.*")]


def test_progress_is_called_in_this_thread_five_times_a_second_at_most_and_at_the_end(
    source: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[float, int, Progress]] = []
    stop = threading.Event()

    def progress(now: Progress) -> None:
        seen.append((time.monotonic(), threading.get_ident(), now))
        if now.entries > 20:
            stop.set()

    report = slowly(source, progress=progress, should_stop=stop.is_set)
    assert {thread for _, thread, _ in seen} == {threading.get_ident()}
    moments = [moment for moment, _, _ in seen[:-1]]  # the last one is not on time: it is the end
    assert len(moments) > 1 and min(b - a for a, b in itertools.pairwise(moments)) >= 0.19
    counts = [now.entries for _, _, now in seen]
    assert counts == sorted(counts) and all(now.phase == "copying" for _, _, now in seen)
    assert report.exit_code == 75 and 0 < report.outcome.copied.files < 300
    assert counts[-1] == report.outcome.copied.files
    assert capfd.readouterr() == ("", "")


def test_the_last_progress_of_a_run_that_did_all_says_so(on_tmpfs: Path) -> None:
    src, dst, kept = on_tmpfs / "src", on_tmpfs / "dst", on_tmpfs / "kept"
    build(src, {"a": Dir({f"{number}": File(b"x") for number in range(20)}), "b": File(b"xx")})
    calls: list[Callable[[Callable[[Progress], object]], Report]] = [
        lambda show: hpcp_mpi.copy(src, dst, dry_run=True, progress=show),
        lambda show: hpcp_mpi.copy(src, dst, progress=show),
        lambda show: hpcp_mpi.copy(src, kept, verify=True, progress=show),
        lambda show: hpcp_mpi.mirror(src, dst, progress=show),
        lambda show: hpcp_mpi.verify(src, dst, progress=show),
        lambda show: hpcp_mpi.list_files(src, on_tmpfs / "list", progress=show),
        lambda show: hpcp_mpi.move(src, on_tmpfs / "moved", progress=show),
        lambda show: hpcp_mpi.remove([dst, kept], progress=show),
    ]
    for number, call in enumerate(calls):
        seen: list[Progress] = []
        assert call(seen.append).exit_code == 0
        last = seen[-1]
        assert (number, last.fraction, last.entries) == (number, 1.0, last.entries_total)
        assert last.entries == (46 if number == 7 else 23)


def test_a_run_that_is_stopped_returns_what_it_did_and_the_same_call_does_the_rest(source: Path) -> None:
    seen: list[Progress] = []
    first = slowly(source, progress=seen.append, should_stop=lambda: bool(seen) and seen[-1].entries > 20)
    assert first.exit_code == 75 and first.ended_early and not first.failures
    assert not leftovers(source.parent)
    there = len(list((source.parent / "dst").iterdir()))
    assert there == first.outcome.copied.files < 300
    second = hpcp_mpi.copy(source, source.parent / "dst")
    assert (second.exit_code, second.outcome.copied.files) == (0, 300 - there)
    oracle.assert_equal_trees(source, source.parent / "dst")


def test_what_is_to_stop_before_it_began_does_nothing(source: Path) -> None:
    report = hpcp_mpi.mirror(source, source.parent / "dst", should_stop=lambda: True)
    assert (report.exit_code, report.mirror, report.destination) == (75, True, os.fsencode(source.parent / "dst"))
    assert not (source.parent / "dst").exists()


class Cancelled(Exception):
    """A program's own."""


@pytest.mark.parametrize("error", [Cancelled("no more"), SystemExit(3)])
@pytest.mark.parametrize("callback", ["progress", "should_stop"])
def test_what_a_callback_raises_ends_the_run_in_good_order_and_comes_out(
    callback: str, error: BaseException, source: Path
) -> None:
    calls = 0

    def raising(*now: object) -> bool:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise error
        return False

    threads = threading.active_count()
    began = time.monotonic()
    with pytest.raises(type(error)) as raised:
        slowly(source, **{callback: raising})
    assert raised.value is error and calls == 3 and time.monotonic() - began < 3
    assert not leftovers(source.parent) and threading.active_count() == threads


def test_the_log_has_news_notes_and_failures_and_is_silent_without_handlers(
    on_tmpfs: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    build(on_tmpfs / "src", {f"f{number:02}\x1b[1m": File(b"f") for number in range(25)})
    build(on_tmpfs / "dst", {f"f{number:02}\x1b[1m": Dir({"full": File(b"x")}) for number in range(25)})
    with caplog.at_level(logging.INFO, "hpcp_mpi"):
        report = hpcp_mpi.copy(on_tmpfs / "src", on_tmpfs / "dst", exclude="nothing-has-this-name")
    assert len(report.failures) == 25
    lines = {level: [each.getMessage() for each in caplog.records if each.levelno == level] for level in (20, 30, 40)}
    assert lines[logging.INFO][-1] == f"copy() ended: {report}"
    assert lines[logging.WARNING] == ["nothing-has-this-name: this exclude pattern matched nothing"]
    assert len(lines[logging.ERROR]) == 21 and all("\\x1b[1m: cannot be" in line for line in lines[logging.ERROR][:-1])
    assert lines[logging.ERROR][-1] == "... and 5 more, which are in the report"
    assert capfd.readouterr() == ("", "")


# --- a process that goes on


@pytest.fixture
def the_process_stays_as_it_was() -> Iterator[None]:
    def state() -> object:
        handlers = [signal.getsignal(each) for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        umask = os.umask(0o22)
        os.umask(umask)
        where = (
            os.getcwd(),
            umask,
            {**os.environ, "PYTEST_CURRENT_TEST": ""},
            gc.get_threshold(),
            gc.isenabled(),
            gc.get_freeze_count(),
        )
        return handlers, mask, where, resource.getrlimit(resource.RLIMIT_CORE), len(os.listdir("/proc/self/fd"))

    hpcp_mpi.Report()  # what is loaded once may open files
    before, threads = state(), threading.active_count()
    yield
    assert state() == before and threading.active_count() == threads


@pytest.mark.usefixtures("the_process_stays_as_it_was")
def test_asyncio_awaits_several_at_once_in_threads_which_keep_their_working_directory(
    on_tmpfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tree in ("a", "b", "c"):
        build(on_tmpfs / tree, {f"{tree}{number}": File(b"x" * number) for number in range(200)})
    monkeypatch.chdir(on_tmpfs)
    ticks = 0

    async def ticking() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def main() -> list[Report]:
        clock = asyncio.create_task(ticking())
        # Relative: a thread that was moved to another directory by the first round would not find them in the second.
        for _ in range(2):
            reports = await asyncio.gather(
                *(asyncio.to_thread(hpcp_mpi.copy, tree, f"copies/{tree}", full_hash=True) for tree in ("a", "b", "c"))
            )
            assert await asyncio.to_thread(os.getcwd) == str(on_tmpfs)
        clock.cancel()
        return reports

    reports = asyncio.run(main())
    assert [(each.exit_code, each.outcome.skipped.files) for each in reports] == [(0, 200)] * 3
    assert ticks > 3
    for tree in ("a", "b", "c"):
        oracle.assert_equal_trees(on_tmpfs / tree, on_tmpfs / "copies" / tree)


def test_two_runs_into_one_destination_at_once_both_end_well(on_tmpfs: Path) -> None:
    build(on_tmpfs / "src", {f"{number}": File(b"x" * 2000) for number in range(300)})
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(hpcp_mpi.copy, on_tmpfs / "src", on_tmpfs / "dst") for _ in range(2)]
    assert [each.result().exit_code for each in both] == [0, 0]
    oracle.assert_equal_trees(on_tmpfs / "src", on_tmpfs / "dst")
    assert not leftovers(on_tmpfs)


def test_an_awaiting_task_that_is_cancelled_stops_its_run(source: Path) -> None:
    async def copied() -> Report:
        stop = threading.Event()
        try:
            return await asyncio.to_thread(slowly, source, should_stop=stop.is_set)
        finally:
            stop.set()

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(copied(), 0.5)

    began = time.monotonic()
    asyncio.run(main())  # which waits for the thread
    assert time.monotonic() - began < 3
    assert not leftovers(source.parent)


def test_a_program_s_own_handler_of_ctrl_c_stays_and_is_called(source: Path) -> None:
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        seen: list[Progress] = []

        def interrupt(now: Progress) -> None:
            seen.append(now)
            signal.raise_signal(signal.SIGINT)

        assert slowly(source, progress=interrupt, should_stop=stop.is_set).exit_code == 75
    finally:
        signal.signal(signal.SIGINT, before)


# --- ledgers


def test_a_run_with_a_ledger_is_resumed_and_its_status_is_an_object(source: Path, on_tmpfs: Path) -> None:
    ledger = on_tmpfs / "ledger"
    seen: list[Progress] = []
    refused: list[str] = []

    def progress(now: Progress) -> None:
        seen.append(now)
        for read in (lambda: hpcp_mpi.status(ledger), lambda: hpcp_mpi.copy(source, on_tmpfs / "x", ledger=ledger)):
            with pytest.raises(hpcp_mpi.UsageError) as error:
                read()
            refused.append(error.value.message)

    first = slowly(source, ledger=ledger, progress=progress, should_stop=lambda: seen and seen[-1].entries > 20)
    assert first.exit_code == 75
    assert "this process is writing the ledger" in refused[0] and "another run of this process" in refused[1]
    stopped = hpcp_mpi.status(os.fsencode(ledger))
    assert (stopped.condition, stopped.verb) == ("stopped", "copy")
    assert stopped.last.command == (
        *("hpcp-mpi", "-d", str(on_tmpfs / "dst"), "--file_rate_limit", str(SLOW), "--files_per_job", "5"),
        *("--ledger", str(ledger), str(source)),
    )
    second = hpcp_mpi.copy(source, on_tmpfs / "dst", ledger=ledger, resume=True)
    assert second.exit_code == 0 and second.before.files == first.outcome.copied.files
    assert hpcp_mpi.status(ledger).condition == "ended"
    with pytest.raises(hpcp_mpi.FatalError, match="there is no ledger"):
        hpcp_mpi.status(on_tmpfs / "none")


def test_the_own_ledger_is_not_removed_with_what_it_lies_in(on_tmpfs: Path) -> None:
    build(on_tmpfs / "dir", {"x": File(b"x")})
    calls: list[Callable[[], Report]] = [
        lambda: hpcp_mpi.remove(on_tmpfs / "dir", ledger=on_tmpfs / "dir/ledger"),
        lambda: hpcp_mpi.move(on_tmpfs / "dir", on_tmpfs / "to", ledger=on_tmpfs / "dir/ledger"),
        lambda: hpcp_mpi.mirror(on_tmpfs / "dir", on_tmpfs / "to", ledger=on_tmpfs / "to/ledger"),
    ]
    (on_tmpfs / "to").mkdir()
    for call in calls:
        with pytest.raises(hpcp_mpi.UsageError, match=r"the ledger .* lies in"):
            call()
    assert (on_tmpfs / "dir/x").exists()

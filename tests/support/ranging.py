"""Helpers of the tests of ranges: copies of big files without ranks or messages.

Threads with the contexts of two ranks carry out the plan of ranges.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcp_mpi.engine.context import JobContext
from hpcp_mpi.host.commands import Commands
from hpcp_mpi.operations.copy.big_files import beginning
from hpcp_mpi.operations.copy.big_files import worker as ranging
from hpcp_mpi.operations.copy.big_files.rules import Ranges
from hpcp_mpi.operations.prepare.arguments import root_of
from hpcp_mpi.vocab.abilities import Abilities
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.job import Job
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import one_file
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units

BLOCK = 4096
RANGE = 4 * BLOCK
SIZE = 10 * RANGE + 123
DO = {Kind.START_FILE: beginning.begin, Kind.RANGE: ranging.copy_range, Kind.FINISH_FILE: ranging.finish}
Meddle = Callable[[Batch], None]


@dataclass
class Copying:
    """A copy of src to dst by two ranks."""

    src: Path
    dst: Path
    options: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)
    batches: list[Batch] = field(default_factory=list)  # all that were done

    def __post_init__(self) -> None:
        source, dest = root_of(os.fsencode(self.src)), root_of(os.fsencode(self.dst))
        job = Job(
            options=Options(**self.options),
            sources=(source,),
            destination=dest.path,
            destination_root=dest,
            merged=frozenset(),
            abilities=Abilities(),
            run_id="0123abcd",
        )
        self.places = [JobContext(job, Commands(), rank) for rank in (1, 2)]
        self.plan = Ranges(RANGE, alignment=BLOCK)

    def batch(self, *names: str, source_dir: str = "", dest_dir: str = "", kind: Kind = Kind.START_FILE) -> Batch:
        """A batch of files as they are now; "old:new" gets another name."""
        units = []
        for name, _, dest_name in (name.partition(":") for name in names):
            size = (self.src / source_dir / name).lstat().st_size
            units.append(Unit(os.fsencode(name), one_file(size), size, os.fsencode(dest_name) or None))
        return Batch(kind, 0, os.fsencode(source_dir), os.fsencode(dest_dir), Units.of(units))

    def run(self, *names: str, meddle: Meddle = lambda batch: None, threads: int = 1, **where: Any) -> Outcome:
        """Copy files. meddle is called before each batch; with one thread they come one after the other."""
        waiting = [self.batch(*names, **where)]
        with ThreadPoolExecutor(threads) as pool:
            while waiting:
                outcomes = list(
                    pool.map(lambda numbered: self._do(numbered[0], numbered[1], meddle), enumerate(waiting))
                )
                waiting = []
                for outcome in outcomes:
                    for news in outcome.findings:
                        waiting += [one for batch in self.plan.update(news) for one in singly(batch)]
                    outcome.findings = []
                    self.outcome.add(outcome)
        for place in self.places:
            place.stages.close()
        assert self.plan.idle
        return self.outcome

    def _do(self, number: int, batch: Batch, meddle: Meddle) -> Outcome:
        meddle(batch)
        self.batches.append(batch)
        outcome = Outcome()
        place = self.places[number % 2]
        try:
            DO[batch.kind](place, batch, outcome)
        finally:
            place.release()
        return outcome

    def kinds(self, kind: Kind) -> int:
        return sum(batch.kind is kind for batch in self.batches)


def singly(batch: Batch) -> Iterator[Batch]:
    while len(batch.units):
        first, batch = batch.split(1)
        yield first


def started(place: Path, **options: Any) -> Copying:
    for name in ("src", "dst"):
        (place / name).mkdir(exist_ok=True)
    return Copying(place / "src", place / "dst", options)


def fill(path: Path, size: int = SIZE, holes: bool = False) -> Path:
    with open(path, "wb") as file:
        for at in range(0, size, 2 * RANGE if holes else RANGE):
            file.seek(at)
            file.write(os.urandom(min(RANGE, size - at)))
        file.truncate(size)
    return path


def sparse(path: Path, size: int, written: list[tuple[int, int]]) -> Path:
    """A file with random bytes in some parts (offset, bytes), and holes in between."""
    with open(path, "wb") as file:
        for at, count in written:
            file.seek(at)
            file.write(os.urandom(count))
        file.truncate(size)
    return path


def pieces_of(path: Path) -> list[tuple[int, bytes]]:
    """What a file has beside holes, by SEEK_DATA: (offset, bytes)."""
    found: list[tuple[int, bytes]] = []
    with open(path, "rb") as file:
        at = 0
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return found
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            found.append((at, os.pread(file.fileno(), end - at, at)))
            at = end


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def once(kind: Kind, deed: Callable[[], object], before: int = 1) -> Meddle:
    """A meddler that acts before the nth batch of a kind."""
    left = [before]

    def meddle(batch: Batch) -> None:
        if batch.kind is kind:
            left[0] -= 1
            if left[0] == 0:
                deed()

    return meddle


def spoilt(job: Copying, name: str, reason: str, vanished: bool = False) -> Failure:
    """The one failure of one file, of which nothing may be at the destination."""
    (failure,) = job.outcome.failures
    assert failure.path == os.fsencode(job.src / name)
    assert reason in failure.reason, failure
    assert failure.vanished is vanished
    assert failure.attempted.bytes == SIZE or reason == "vanished"
    assert names(job.dst) == []
    assert job.outcome.copied.files == 0
    return failure


def stage_of(job: Copying) -> Path:
    return job.dst / next(name for name in names(job.dst) if name.startswith(".hpcp-mpi."))

"""Kills at any moment: the ledger has a whole checkpoint of the run, and all that came before it."""

from __future__ import annotations

import functools
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hpcp_mpi.ledger.reader import read
from hpcp_mpi.ledger.writer import open_new, resume_ledger
from hpcp_mpi.vocab.checkpoint import Checkpoint, Relist
from hpcp_mpi.vocab.errors import Failure
from tests.ledger.making import checkpoint, heading
from tests.support.effort import many

ROUNDS = many(150)
SEED = 20


@functools.cache
def numbered(number: int) -> Checkpoint:
    """A checkpoint that takes a while to write: several pages of every table."""
    noise = random.Random(number).randbytes(30_000)
    return checkpoint(
        number,
        todo=tuple(Relist(0, b"%d/%d" % (number, each), b"d" * 50, False) for each in range(200)),
        records={"settled": b"%d:" % number + noise},
        failures=tuple(Failure(b"/f%d/%d" % (number, each), "reason") for each in range(3)),
        notes=((b"/n%d" % number, "note"),),
    )


def forked(work: Callable[[], None]) -> int:
    """Call work in a child process; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def write_on(path: bytes, first: int, told: int) -> None:
    """Write checkpoint after checkpoint until killed; report each number before it may be in the file."""
    ledger = resume_ledger(path, heading())[0] if first > 1 else open_new(path, heading())
    number = first
    while True:
        os.write(told, b"%d\n" % number)
        ledger.checkpoint(numbered(number))
        number += 1
        while ledger.waiting > 1:
            time.sleep(0.0001)


def expected(number: int, since: int) -> Checkpoint:
    """The checkpoint read when `number` was the last one written, by a run that began with `since`."""
    return replace(
        numbered(number),
        records={},
        failures=tuple(failure for each in range(since, number + 1) for failure in numbered(each).failures),
        notes=tuple(note for each in range(1, number + 1) for note in numbered(each).notes),
    )


def number_of(saved: Checkpoint) -> int:
    return int(saved.phase.split()[1])


def test_a_kill_at_any_instant_leaves_a_whole_checkpoint(on_tmpfs: Path) -> None:
    chance = random.Random(SEED)
    path = os.fsencode(on_tmpfs / "ledger")
    committed, since, torn, grown = 0, 1, 0, 0
    for _ in range(ROUNDS):
        ours, theirs = os.pipe()
        begun = committed + 1
        child = forked(lambda begun=begun, theirs=theirs: write_on(path, begun, theirs))  # type: ignore[misc]
        os.close(theirs)
        try:
            heard, enough = b"", chance.randrange(1, 8)
            while heard.count(b"\n") < enough:
                more = os.read(ours, 100)
                assert more, "it ended by itself"
                heard += more
            time.sleep(chance.random() * 0.005)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        while more := os.read(ours, 100_000):
            heard += more
        os.close(ours)
        submitted = int(heard.split()[-1])
        journal = path + b"-journal"
        torn += os.path.exists(journal) and os.path.getsize(journal) > 0
        if committed == 0 and read(path).latest is None:
            os.unlink(path)  # it was killed before its first checkpoint
            continue
        ledger, saved = resume_ledger(path, heading())
        blocks = list(saved.records["settled"])
        ledger.close()
        number = number_of(saved.latest)
        assert committed <= number <= submitted
        since = begun if number > committed else since
        assert saved.latest == expected(number, since)
        assert blocks == [numbered(each).records["settled"] for each in range(1, number + 1)]
        grown += number > committed
        committed = number
    assert torn >= ROUNDS / 10 and grown >= ROUNDS / 3, "the kills came in the midst of it"

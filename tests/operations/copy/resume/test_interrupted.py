"""From every point of a run another one can go on, also if the last checkpoints were not written any more.

Trees, options and points are random, but the same each time.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from hpcp_mpi.vocab.options import MIB, Options
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.request import Request, Verb
from hpcp_mpi.vocab.tally import NOTHING
from tests.chaos import trees
from tests.support import oracle
from tests.support.copies import stages
from tests.support.effort import many
from tests.support.interrupted import BrokenOff, Notes, run
from tests.support.marks import needs_commands

pytestmark = needs_commands("rsync")


def asked_for(rng: random.Random, src: Path, dst: Path, mirror: bool) -> Request:
    options = Options(
        chunk_files=rng.choice((3, 20, 100)),
        chunk_seconds=rng.choice((0.02, 0.2)),
        slots=rng.choice((1, 3)),
        split_size=MIB,
        parallel_listing=rng.choice((None, True, False)),
        verify=rng.random() < 0.3,
        hash_size=rng.choice((0, 65536)),
        mirror=mirror,
    )
    return Request(Verb.COPY, (os.fsencode(src),), (os.fsencode(dst),), options)


@pytest.mark.parametrize("seed", range(many(30)))
def test_a_run_goes_on_from_any_point(seed: int, on_tmpfs: Path) -> None:
    rng = random.Random(seed)
    src, mirror = on_tmpfs / "src", rng.random() < 0.4
    trees.grow(src, rng, rng.choice((20, 60, 150)))
    how, before = rng.choice(("nothing", "empty", "partial")), rng.randrange(10**6)
    total = None
    for attempt in range(4):
        dst = on_tmpfs / f"dst{attempt}"
        trees.prepare(src, dst, random.Random(before), how, mirror)
        request = asked_for(random.Random(seed), src, dst, mirror)
        if total is None:  # how many checkpoints there are
            notes = Notes()
            assert run(request, notes).exit_code == 0
            check(src, dst)
            total = len(notes.checkpoints)
            continue
        notes = Notes(rng.randint(1, total))
        try:
            run(request, notes)
        except BrokenOff:
            pass  # else it was faster this time
        count = max(0, len(notes.checkpoints) - rng.choice((0, 0, 1, 3, 10)))
        missing, twice = trees.missing(src, dst)[1], trees.linked(src) + trees.linked(dst)
        again, what = Notes(), f"{total=} {notes.stop_at=} {count=} {request}"
        report = run(request, again, notes.saved(count))
        assert report.exit_code == 0, (what, report.failures)
        assert report.outcome.copied.bytes <= missing + twice, what
        check(src, dst)
        add_up(src, report, again, what)
        # And a third one, from what the first two have left.
        if again.checkpoints:
            part = rng.randint(1, len(again.checkpoints))
            notes.checkpoints = notes.checkpoints[:count] + again.checkpoints[:part]
            third = Notes()
            report = run(request, third, notes.saved(len(notes.checkpoints)))
            assert (report.exit_code, report.outcome.copied.bytes) == (0, 0), (what, part, report.failures)
            check(src, dst)
            add_up(src, report, third, what)


def add_up(src: Path, report: Report, notes: Notes, what: str) -> None:
    """The numbers of the last run, and the ledger's, are of all runs: every entry is found once, and done."""
    done = report.outcome
    rest = report.scanned.minus(report.before).minus(done.copied).minus(done.updated).minus(done.skipped)
    entries = 1 + sum(1 for _ in oracle.entries(src))
    assert (report.scanned.entries, rest, report.left) == (entries, NOTHING, NOTHING), what
    assert all(count >= 0 for tally in (done.copied, done.updated, done.skipped) for count in tally), what
    latest = notes.checkpoints[-1]
    assert (latest.tallies["found"], latest.left) == (report.scanned, NOTHING), what


def check(src: Path, dst: Path) -> None:
    assert stages(dst) == []
    found = oracle.differences(src, dst) + oracle.lstat_differences(src, dst)
    assert found + oracle.hard_link_differences(src, dst) == []

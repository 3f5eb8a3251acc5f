"""Random sequences of runs and checkpoints: the last run finds all that earlier ones submitted."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.ledger import file
from hpcp_mpi.ledger.writer import Ledger, open_new, resume_ledger
from hpcp_mpi.vocab.checkpoint import Checkpoint, RankState, Relist, Sample
from hpcp_mpi.vocab.errors import Failure
from hpcp_mpi.vocab.tally import Tally
from tests.ledger.making import end_process, heading
from tests.support.effort import many

COUNTS = st.integers(0, 2**62)
TALLIES = st.builds(Tally, *[COUNTS] * 5)
SECONDS = st.floats(0, 1e9)
NAMES = st.binary(max_size=8)
WORDS = st.text(st.characters(), max_size=8)  # surrogates, too
FEW = 3
CHECKPOINTS = st.builds(
    Checkpoint,
    phase=st.text(max_size=5).filter(bool),
    seconds=SECONDS,
    tallies=st.dictionaries(st.sampled_from(["found", "copied"]), TALLIES),
    linked=COUNTS,
    scan_done=st.booleans(),
    chunks=COUNTS,
    steals=COUNTS,
    messages=COUNTS,
    ranks=st.lists(
        st.builds(RankState, COUNTS, WORDS, COUNTS, st.sampled_from(["working", "lost"]), *[COUNTS] * 5, SECONDS),
        max_size=FEW,
        unique_by=lambda rank: rank.rank,
    ).map(lambda ranks: tuple(sorted(ranks, key=lambda rank: rank.rank))),
    # What is not in a ledger stays as it is by default.
    todo=st.lists(st.builds(Relist, COUNTS, NAMES, NAMES, st.booleans(), NAMES, st.just(False)), max_size=FEW).map(
        tuple
    ),
    sample=st.builds(Sample, SECONDS, COUNTS, COUNTS, COUNTS, COUNTS),
    state=NAMES,
    records=st.dictionaries(st.sampled_from(["a", "b"]), st.binary(max_size=8) | st.integers(50, 90).map(bytes)),
    failures=st.lists(st.builds(Failure, NAMES, WORDS, st.booleans(), TALLIES), max_size=FEW).map(tuple),
    notes=st.lists(st.tuples(NAMES, WORDS), max_size=FEW).map(tuple),
)
# A run: the checkpoints that it makes, and how it goes: by itself, by an exception, or killed.
RUNS = st.lists(
    st.tuples(st.lists(CHECKPOINTS, max_size=FEW), st.sampled_from(["ends", "breaks", "killed"])), max_size=5
)


def kill(ledger: Ledger, path: Path) -> None:
    """Stop a ledger as a kill between two writes does: no more is written, and no end is recorded."""
    with ledger.using:
        file.roll_back(ledger.connection)
        ledger.connection.close()
    end_process(path)


def drained(ledger: Ledger) -> None:
    while ledger.waiting:
        assert ledger.failure is None


@settings(max_examples=many(80), deadline=None)
@given(RUNS)
def test_what_was_submitted_is_read_back(runs: list[tuple[list[Checkpoint], str]]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        path = Path(directory) / "ledger"
        ledger = open_new(os.fsencode(path), heading(host="n\udcff", job="\udcfe"))
        latest: Checkpoint | None = None
        failures: list[Failure] = []
        notes: list[tuple[bytes, str]] = []
        records: dict[str, list[bytes]] = {}
        for number, (checkpoints, how) in enumerate(runs, 1):
            known = set(notes)
            for at, each in enumerate(checkpoints):
                ledger.checkpoint(each)
                failures = [*(failures if at else ()), *each.failures]
                notes += [note for note in each.notes if note not in known]
                for kind, block in each.records.items():
                    records.setdefault(kind, []).append(block)
                latest = each
            if how == "killed":
                drained(ledger)
                kill(ledger, path)
            elif how == "ends":
                ledger.end(None, 75)
            else:
                ledger.close()
            ledger, saved = resume_ledger(os.fsencode(path), heading())
            assert (saved.runs, saved.complete) == (number, how == "ends")
            if latest is None:
                assert saved.latest.phase == "" and not saved.records
            else:
                expected = replace(latest, records={}, failures=tuple(failures), notes=tuple(notes))
                assert saved.latest == expected
            assert {kind: list(blocks) for kind, blocks in saved.records.items()} == records
        ledger.close()

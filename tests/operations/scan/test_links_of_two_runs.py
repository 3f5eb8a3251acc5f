"""Whoever saw which names of a file, in whatever run: in the end all names that are there are one file.

Simulated are several lookers (ranks, and runs that were killed), each of which saw some names in some order, and copied
those that it took for leaders, or was killed before. What was not copied is seen again by the last run.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.operations.scan.deferred import leading_batches, link_batches
from hpcp_mpi.operations.scan.records import LinkedName
from hpcp_mpi.vocab.units import Kind, link_paths
from tests.support.effort import many

INODE = (0, 7)


def record(target: bytes, leader: bytes, counts: int) -> LinkedName:
    return LinkedName(INODE, 0, b"s/" + target, target, leader, counts)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[bytes], list[list[bytes]], bool]:
    """(all names, which of them each looker saw in what order, whether the first run's leader was copied)."""
    names = [b"d%d/n%d" % (number % 3, number) for number in range(draw(st.integers(2, 6)))]
    first = draw(st.lists(st.sampled_from(names), unique=True))
    done = draw(st.booleans())
    # The last run sees what the first did not see or did not copy, and may see any other name again.
    todo = [name for name in names if name not in first or (name == first[0] and not done)]
    more = draw(st.lists(st.sampled_from(names), unique=True))
    last = draw(st.permutations(sorted({*todo, *more})))
    cut = draw(st.integers(0, len(last)))
    return names, [first, list(last[:cut]), list(last[cut:])], done


@settings(max_examples=many(400), deadline=None)
@given(histories(), st.booleans(), st.randoms(use_true_random=False))
def test_all_names_become_one_file(
    history: tuple[list[bytes], list[list[bytes]], bool], ranks: bool, rng: random.Random
) -> None:
    names, lookers, done = history
    if not ranks:
        lookers = [lookers[0], lookers[1] + lookers[2]]
    there: dict[bytes, object] = {}  # at the destination: a name's inode
    records: set[LinkedName] = set()
    for number, saw in enumerate(lookers):
        for name in saw:
            # With a ledger, or where only some names were seen, all of them are recorded.
            records.add(record(name, saw[0], 0))
            if name != saw[0]:
                records.add(record(name, saw[0], 1))
        if saw and (number > 0 or done):
            there.setdefault(saw[0], object())
    for batch in leading_batches(sorted(records)):
        assert batch.kind is Kind.CHECK
        for unit in batch.units:
            there.setdefault(batch.dest_dir + b"/" + unit.target, object())
    # Each unit may be done by another rank, at any time.
    links = [link_paths(unit) for batch in link_batches(sorted(records)) for unit in batch.units]
    rng.shuffle(links)
    for target, leader in links:
        assert leader in there, "whoever makes a link finds nothing to link to"
        there[target] = there[leader]
    assert set(there) == set(names)
    assert len(set(map(id, there.values()))) == 1


def test_a_name_that_was_counted_once_counts() -> None:
    """Of what is known of a name, that it counts is not lost, whatever its leaders are called."""
    records = [record(b"d/b", b"d/a", 1), record(b"d/b", b"d/c", 0), record(b"d/c", b"d/c", 0)]
    counted = {link_paths(unit)[0]: unit.tally.files for batch in link_batches(sorted(records)) for unit in batch.units}
    assert counted.pop(b"d/b") == 1 and not any(counted.values())


def test_only_leaders_in_doubt_are_looked_at() -> None:
    sure = [record(b"d/a", b"d/a", 0), record(b"d/b", b"d/a", 1)]
    assert list(leading_batches(sorted(sure))) == []
    doubted = [record(b"d/a", b"d/b", 1), record(b"d/b", b"d/a", 1)]
    (batch,) = leading_batches(sorted(doubted))
    assert (batch.kind, batch.source_dir, batch.dest_dir, batch.units.names) == (Kind.CHECK, b"s/d", b"d", [b"a"])

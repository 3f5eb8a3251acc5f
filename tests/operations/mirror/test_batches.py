"""What a mirror removes, as batches; what of a move stays, in few paths."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from hpcp_mpi.operations.mirror import batches as mirror
from hpcp_mpi.operations.mirror.batches import extra_batches
from hpcp_mpi.operations.move.rank0 import coarsened
from hpcp_mpi.operations.remove.rules import is_walk
from hpcp_mpi.operations.scan.records import Extra
from hpcp_mpi.vocab.units import DEST, Kind

NAMES = st.sampled_from([b"a", b"b", b"c", b"d"])
EXTRAS = st.sets(st.builds(Extra, st.sampled_from([b"", b"a", b"a/b"]), NAMES, st.booleans(), st.integers(0, 1), NAMES))
PATHS = st.lists(NAMES, min_size=1, max_size=5).map(lambda names: b"/" + b"/".join(names))


@given(EXTRAS, st.integers(1, 3))
def test_every_extra_is_in_one_batch_whoever_called_it_extra(extras: set[Extra], together: int) -> None:
    with mock.patch.object(mirror, "_TOGETHER", together):
        batches = list(extra_batches(Kind.REMOVE, sorted(extras)))
    found = [(batch.source_dir, name) for batch in batches for name in batch.units.names]
    assert sorted(found) == sorted({(each.dest_dir, each.name) for each in extras})
    types = {(each.dest_dir, each.name, each.is_directory) for each in extras}
    assert all((batch.source_dir, name, is_walk(batch)) in types for batch in batches for name in batch.units.names)
    assert all(batch.kind is Kind.REMOVE and batch.source == DEST for batch in batches)
    assert all(0 < len(batch.units) <= together for batch in batches)


@given(st.sets(PATHS), st.integers(1, 5))
def test_few_paths_hold_all_that_has_to_stay(paths: set[bytes], most: int) -> None:
    few = coarsened(paths, most)
    assert len(few) <= most
    for path in paths:
        assert any(path == each or path.startswith(each.rstrip(b"/") + b"/") for each in few)
    if len(paths) <= most:
        assert few == paths

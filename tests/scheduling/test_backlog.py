"""The backlog gives out every unit exactly once, in chunks of one kind and of about the requested seconds."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.scheduling import backlog as module
from hpcp_mpi.scheduling.backlog import Backlog
from hpcp_mpi.scheduling.cost_model import FIRST, CostModel
from hpcp_mpi.vocab.tally import Tally, one_file
from hpcp_mpi.vocab.units import Batch, Chunk, Kind, Unit, Units

SECOND = 1000  # bytes
KINDS = st.sampled_from([Kind.COPY, Kind.CHECK, Kind.RANGE, Kind.LIST, Kind.START_FILE])
SIZES = st.lists(st.integers(0, 50) | st.integers(200, 5000), min_size=1, max_size=8)
Work = list[tuple[Kind, bool, list[int]]]
WORK = st.lists(st.tuples(KINDS, st.booleans(), SIZES), max_size=8)


def weights() -> CostModel:
    """A cost model with a second for 1000 bytes, next to nothing for an entry, and chunks of a second."""
    weights = CostModel(1.0, 10**6, SECOND)
    for kind in Kind:
        weights.learn(kind, 1, SECOND, 1.0)  # so that the first chunks are no lighter than others
    return weights


def batch_of(kind: Kind, sizes: list[int], name: bytes = b"", plain: bool = True) -> Batch:
    names = [b"%s.%d" % (name, at) for at in range(len(sizes))]
    if plain:
        return Batch(kind, 0, name, b"d", Units(names, list(sizes)))
    units = (Unit(names[at], Tally(at % 3, 1), size, b"x") for at, size in enumerate(sizes))
    return Batch(kind, 0, name, b"d", Units.of(units))


def work_of(drawn: Work, mark: bytes = b"") -> list[Batch]:
    return [batch_of(kind, sizes, b"%s%d" % (mark, at), plain) for at, (kind, plain, sizes) in enumerate(drawn)]


def units_in(batches: list[Batch]) -> list[tuple[Kind, bytes, Unit]]:
    return [(batch.kind, batch.source_dir, unit) for batch in batches for unit in batch.units]


def names_in(chunk: Chunk) -> list[bytes]:
    return [name for batch in chunk.batches for name in batch.units.names]


@given(WORK, st.data())
def test_every_unit_is_cut_once_whatever_the_targets(drawn: Work, data: st.DataObject) -> None:
    backlog = Backlog(weights())
    batches = work_of(drawn)
    half = data.draw(st.integers(0, len(batches)))
    backlog.add(batches[:half])
    cut, numbers, waiting = [], [], batches[half:]
    while backlog or waiting:
        if waiting and (not backlog or data.draw(st.booleans(), label="more comes")):
            backlog.add([waiting.pop(0)], first=data.draw(st.booleans(), label="given back"))
            continue
        whose = data.draw(st.none() | st.integers(1, 3), label="rank")
        chunk = backlog.cut(data.draw(st.floats(0.001, 5), label="target"), whose)
        assert chunk.batches and all(len(batch.units) for batch in chunk.batches)
        assert len({batch.kind for batch in chunk.batches}) == 1
        cut += units_in(list(chunk.batches))
        numbers.append(chunk.number)
        assert backlog.units == len(units_in(batches)) - len(units_in(waiting)) - len(cut)
    assert Counter(cut) == Counter(units_in(batches))
    assert (backlog.weight, backlog.units, backlog.memory) == (0, 0, 0)
    assert numbers == sorted(set(numbers))


@given(st.lists(st.lists(st.just(40), min_size=1, max_size=9), min_size=1, max_size=12), st.data())
def test_what_a_rank_has_begun_is_shared_only_when_nothing_is_left_to_begin(
    drawn: list[list[int]], data: st.DataObject
) -> None:
    backlog = Backlog(weights())
    backlog.add(batch_of(Kind.COPY, sizes, b"%d" % at) for at, sizes in enumerate(drawn))
    ranks: dict[bytes, set[int]] = {}
    while backlog:
        rank = data.draw(st.integers(1, 3), label="rank")
        for batch in backlog.cut(data.draw(st.floats(0.01, 0.2), label="target"), rank).batches:
            assert len(ranks) == len(drawn) or ranks.get(batch.source_dir, {rank}) == {rank}
            ranks.setdefault(batch.source_dir, set()).add(rank)


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=300), max_size=8), st.data())
def test_light_units_keep_their_order_and_chunks_reach_their_target(
    sizes: list[list[int]], data: st.DataObject
) -> None:
    known = weights()
    backlog = Backlog(known)
    batches = [batch_of(Kind.COPY, each, b"%d" % at) for at, each in enumerate(sizes)]
    backlog.add(batches)
    cut = []
    while backlog:
        before = backlog.weight
        target = data.draw(st.floats(0.001, 1.0), label="target")
        chunk = backlog.cut(target)
        seconds = known.seconds(Kind.COPY, chunk.entries, chunk.amount)
        (_, _, last) = units_in(list(chunk.batches))[-1]
        assert seconds - known.seconds(Kind.COPY, 1, last.amount) < target, "it held enough without its last unit"
        assert seconds >= 0.999 * target or not backlog
        assert abs(before - backlog.weight - seconds) < 1e-9
        cut += units_in(list(chunk.batches))
    assert cut == units_in(batches)


@given(WORK, WORK)
def test_what_was_given_back_comes_before_everything_else(drawn: Work, given_back: Work) -> None:
    backlog = Backlog(weights())
    later, first = work_of(drawn), work_of(given_back, b"again ")
    backlog.add(later)
    backlog.add(first, first=True)
    cut: list[tuple[Kind, bytes, Unit]] = []
    while backlog:
        cut += units_in(list(backlog.cut(0.5).batches))
    assert cut[: len(units_in(first))] == units_in(first)


def test_heavy_units_go_first_and_the_heaviest_of_them_before_the_others() -> None:
    backlog = Backlog(weights())
    backlog.add([batch_of(Kind.COPY, [10, 5000, 20, 7000], b"a"), batch_of(Kind.COPY, [6000], b"b")])
    assert [names_in(backlog.cut(1.0)) for _ in range(4)] == [[b"a.3"], [b"b.0"], [b"a.1"], [b"a.0", b"a.2"]]


def test_heavy_units_that_fit_together_are_one_chunk() -> None:
    backlog = Backlog(weights())
    backlog.add([batch_of(Kind.COPY, [400, 300, 500], b"a")])
    assert names_in(backlog.cut(1.0)) == [b"a.2", b"a.0"]
    assert names_in(backlog.cut(1.0)) == [b"a.1"]


def test_a_subtree_of_many_small_files_is_heavy_too() -> None:
    known = CostModel(1.0, 1000, 10**9)
    known.learn(Kind.COPY, 1000, 0, 1.0)
    backlog = Backlog(known)
    tree = Unit(b"tree", Tally(files=900, directories=1), 900)
    backlog.add([Batch(Kind.COPY, 0, b"", b"", Units.of([Unit(b"file", one_file(1), 1)] * 40 + [tree]))])
    assert names_in(backlog.cut(0.5)) == [b"tree"]


def test_the_ranges_of_a_file_stay_together_and_in_order() -> None:
    backlog = Backlog(weights())
    backlog.add([batch_of(Kind.RANGE, [500] * 5, b"a"), batch_of(Kind.RANGE, [500] * 9, b"b")])
    cut = []
    while backlog:
        chunk = backlog.cut(1.0)
        assert len(chunk.batches) <= 2
        cut += names_in(chunk)
    assert cut == [b"b.%d" % at for at in range(9)] + [b"a.%d" % at for at in range(5)]


def test_what_makes_new_work_goes_first() -> None:
    backlog = Backlog(weights())
    backlog.add([batch_of(kind, [0], b"%d" % at) for at, kind in enumerate([Kind.COPY, Kind.LIST, Kind.START_FILE])])
    assert [backlog.cut(1.0).batches[0].kind for _ in range(3)] == [Kind.START_FILE, Kind.LIST, Kind.COPY]


def test_with_a_full_backlog_directories_are_listed_last_and_the_latest_of_them_first() -> None:
    backlog = Backlog(weights())
    backlog.add([batch_of(Kind.LIST, [0], b"a"), batch_of(Kind.LIST, [0], b"b"), batch_of(Kind.COPY, [0], b"c")])
    backlog.memory += module.ROOM
    assert names_in(backlog.cut(1e-9)) == [b"c.0"]
    assert names_in(backlog.cut(1e-9)) == [b"b.0"]


def test_the_first_chunks_of_a_kind_are_light() -> None:
    backlog = Backlog(CostModel(1.0, 10**6, 10_000 * FIRST))
    backlog.add([batch_of(Kind.COPY, [1000] * 1000)])
    assert 9 <= len(names_in(backlog.cut(1.0))) <= 11


def test_weight_follows_what_is_learnt() -> None:
    known = weights()
    backlog = Backlog(known)
    backlog.add([batch_of(Kind.COPY, [10] * 100)])
    before = backlog.weight
    for _ in range(20):
        known.learn(Kind.COPY, 1, SECOND, 3.0)
    assert backlog.weight > 2 * before


def test_a_batch_that_is_cut_many_times_is_not_copied_as_often() -> None:
    copied = 0

    class Counting(Units):
        __slots__ = ()

        def __getitem__(self, part: slice) -> Units:
            nonlocal copied
            found = super().__getitem__(part)
            copied += len(found)
            return found

    count = 50_000
    backlog = Backlog(weights())
    backlog.add([Batch(Kind.COPY, 0, b"", b"", Counting([b"n"] * count, [1] * count))])
    chunks = 0
    while backlog:
        backlog.cut(0.01)
        chunks += 1
    assert chunks > 4000
    assert copied < 20 * count


def test_what_is_cut_is_like_the_batch_in_all_but_its_units() -> None:
    others: dict[str, Any] = {each.name: each.name for each in fields(Batch) if each.name not in ("kind", "units")}
    backlog = Backlog(weights())
    backlog.add([Batch(kind=Kind.COPY, units=Units([b"a", b"b", b"c"], [100, 900, 100]), **others)])
    for unit in (b"b", b"a", b"c"):
        (cut,) = backlog.cut(0.01).batches
        assert cut.units.names == [unit]
        assert {name: getattr(cut, name) for name in others} == others


@settings(deadline=None)
@given(WORK, st.lists(st.floats(0.01, 3.0), max_size=12))
def test_what_is_pending_and_what_was_cut_is_all_there_was(drawn: Work, targets: list[float]) -> None:
    """More plain files may be reported as pending than are: they are found by directory."""
    backlog, all_ = Backlog(weights()), work_of(drawn)
    backlog.add(all_)
    cut: list[Batch] = []
    for target in targets:
        if backlog:
            cut += backlog.cut(target).batches
        pending = units_in(list(backlog.pending()))
        known, total = Counter(units_in(cut)) + Counter(pending), Counter(units_in(all_))
        for unit, count in total.items():
            brief = unit[2].tally == one_file(unit[2].amount) and unit[0] in (Kind.COPY, Kind.CHECK)
            assert known[unit] >= count and (brief or known[unit] == count)
        assert set(known) == set(total)
    if not backlog:
        assert list(backlog.pending()) == []

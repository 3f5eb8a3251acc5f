"""Ranks are lost, or the run must end, at any moment: no unit is forgotten, and what must be reported once is."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from hpcp_mpi.scheduling.grants import CONTENT
from hpcp_mpi.scheduling.rate_limit import RateLimiter
from hpcp_mpi.vocab.tally import Tally
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units
from tests.scheduling.simulation import Cluster, batch_of
from tests.support.effort import many

PATIENCE = 20_000  # steps; the runs below need some hundred
MANY = settings(max_examples=many(150), deadline=None)
KINDS = [Kind.COPY, Kind.COPY, Kind.CHECK, Kind.LIST, Kind.RANGE, Kind.REMOVE]
CHANCE = st.randoms(use_true_random=True)
FOUND = 10**6  # units that bites found have greater numbers


@st.composite
def work(draw: st.DrawFn, kinds: list[Kind]) -> list[list[Batch]]:
    """Batches as a scan finds them: of a few directories, some of units with all below them."""
    names = iter(range(FOUND))
    arrivals = []
    for counts in draw(st.lists(st.lists(st.integers(1, 8), max_size=5), min_size=1, max_size=5)):
        batches = []
        for count in counts:
            kind, directory = draw(st.sampled_from(kinds)), draw(st.sampled_from([b"a", b"b", b"a/c"]))
            sizes = draw(st.lists(st.integers(1, 10) | st.just(200), min_size=count, max_size=count))
            batch = batch_of([next(names) for _ in range(count)], sizes, kind, directory)
            if kind is Kind.COPY and draw(st.booleans()):
                units = [unit._replace(tally=Tally(3, 1, 0, 0, unit.amount)) for unit in batch.units]
                units[::2] = list(batch.units)[::2]
                batch = Batch(kind, 0, directory, directory, Units.of(units))
            batches.append(batch)
        arrivals.append(batches)
    return arrivals


@st.composite
def clusters(
    draw: st.DrawFn, kinds: list[Kind] = KINDS, single: bool = False, whole: bool | None = None, limited: bool = False
) -> tuple[Cluster, list[Batch]]:
    arrivals = draw(work(kinds))
    slots = draw(st.lists(st.just(1) if single else st.integers(1, 4), min_size=2, max_size=5))
    size = draw(st.sampled_from([1, 20, 100, 1000]))
    bucket = RateLimiter(draw(st.sampled_from([0.0, 50.0])), draw(st.sampled_from([0.0, 5.0]))) if limited else None
    cluster = Cluster(slots, arrivals, size, max(1, size // 4), single, bucket, remember=True)
    cluster.seconds = draw(st.sampled_from([0.0, 0.001, 1.0, 100.0]))
    cluster.planner.whole = draw(st.booleans()) if whole is None else whole
    cluster.finds = finds
    return cluster, [batch for batches in arrivals for batch in batches]


def finds(units: list[Unit]) -> list[Batch]:
    """The new work of a bite: for each directory that was listed two files, and one more to list."""
    found = []
    for unit in units:
        if len(unit.name) == 1:
            first = FOUND + 10 * int(unit.name)
            found.append(batch_of([first], [3], Kind.COPY, b"found"))
            found.append(batch_of([first + 1], [5], Kind.RANGE, b"found"))
    return found


def happen(cluster: Cluster, chance: Random) -> bool:
    actions = [*cluster.messages(), *cluster.scans(), *cluster.starts(), *cluster.ends()]
    if actions:
        chance.choice(actions)()
    return bool(actions)


def play(cluster: Cluster, chance: Random, steps: int = PATIENCE) -> None:
    for step in range(steps):
        if not happen(cluster, chance):
            return
        assert steps < PATIENCE or step < PATIENCE - 1, "it does not end"


def strike(cluster: Cluster, chance: Random, spare: int) -> None:
    """Lose ranks, all but one, at any moments: most die before, some continue."""
    victims = [rank.number for rank in cluster.ranks if rank.number != spare]
    chance.shuffle(victims)
    for number in victims[: chance.randint(1, len(victims))]:
        play(cluster, chance, chance.randint(0, 60))
        if chance.random() < 0.7:
            cluster.die(number)
            play(cluster, chance, chance.randint(0, 30))
        cluster.lose(number)
        if chance.random() < 0.3:
            cluster.lose(number)  # reported twice


def missing(cluster: Cluster, batches: list[Batch], left: frozenset[bytes] = frozenset()) -> list[bytes]:
    """The units that are neither known to be done nor to be listed again. left: known to be left"""
    told, todo = cluster.told(), cluster.planner.todo
    flat = {each.source_dir for each in todo if not each.recursive}
    deep = [each.source_dir + b"/" for each in todo if each.recursive]
    found = []
    for batch in batches:
        for unit in batch.units:
            path = batch.source_dir + b"/" + unit.name + b"/"
            again = batch.kind in CONTENT and (
                any(path.startswith(each) for each in deep) or (batch.source_dir in flat and not unit.tally.directories)
            )
            if not (told[unit.name] or again or unit.name in left):
                found.append(unit.name)
    return found


def exact(batches: list[Batch]) -> set[bytes]:
    return {unit.name for batch in batches if batch.kind not in CONTENT for unit in batch.units}


@MANY
@given(clusters(), CHANCE)
def test_whoever_is_lost_all_is_done_or_looked_at_again_and_it_ends(
    setting: tuple[Cluster, list[Batch]], chance: Random
) -> None:
    cluster, batches = setting
    strike(cluster, chance, spare=chance.choice(cluster.ranks).number)
    play(cluster, chance)
    assert cluster.ended
    assert missing(cluster, batches) == []


@MANY
@given(clusters(), CHANCE)
def test_what_is_never_looked_at_again_is_told_exactly_once(
    setting: tuple[Cluster, list[Batch]], chance: Random
) -> None:
    cluster, batches = setting
    strike(cluster, chance, spare=chance.choice(cluster.ranks).number)
    play(cluster, chance)
    told = Counter(cluster.planner.news)
    once = exact(batches)
    assert {name: told[name] for name in once if told[name] != 1} == {}
    counted = cluster.told()
    assert {name: counted[name] for name in once if counted[name] != 1} == {}
    for name in once:
        if len(name) == 1:
            first = FOUND + 10 * int(name)
            assert told[b"%d" % (first + 1)] == 1, "work that it found is done once, too"


@MANY
@given(clusters(whole=True, kinds=[Kind.COPY, Kind.CHECK, Kind.LIST]), CHANCE)
def test_what_no_listing_finds_again_is_remembered_by_name(
    setting: tuple[Cluster, list[Batch]], chance: Random
) -> None:
    cluster, batches = setting
    strike(cluster, chance, spare=chance.choice(cluster.ranks).number)
    play(cluster, chance)
    assert all(each.recursive for each in cluster.planner.todo)
    assert missing(cluster, batches) == []


@MANY
@given(clusters(single=True), CHANCE)
def test_single_goes_on_with_a_rank_that_is_not_lost(setting: tuple[Cluster, list[Batch]], chance: Random) -> None:
    cluster, batches = setting
    strike(cluster, chance, spare=chance.choice(cluster.ranks).number)
    play(cluster, chance)
    assert cluster.ended
    assert missing(cluster, batches) == []
    # A rank that is taken for lost may live on for a while; of the others no two work at once.
    assert sum(not share.lost for share in cluster.planner.shares) <= 1


@MANY
@given(clusters(), CHANCE)
def test_every_rank_that_is_lost_is_in_the_report(setting: tuple[Cluster, list[Batch]], chance: Random) -> None:
    cluster, _ = setting
    victim = chance.choice(cluster.ranks)
    play(cluster, chance, chance.randint(0, 20))
    cluster.die(victim.number)
    cluster.lose(victim.number)
    play(cluster, chance)
    assert [share.rank for share in cluster.planner.shares if share.lost] == [victim.number]
    assert [share.rank for share in cluster.planner.shares] == [rank.number for rank in cluster.ranks]


@MANY
@given(clusters(), CHANCE)
def test_who_looked_on_works_when_all_others_are_lost(setting: tuple[Cluster, list[Batch]], chance: Random) -> None:
    cluster, batches = setting
    play(cluster, chance, chance.randint(0, 60))
    spare = chance.choice(cluster.ranks).number
    known = [share.rank for share in cluster.planner.shares]
    benched = chance.sample(known, chance.randint(0, max(0, len(known) - 1)))
    cluster.bench(benched)
    strike(cluster, chance, spare)
    play(cluster, chance)
    assert cluster.ended
    assert missing(cluster, batches) == []


@MANY
@given(clusters(kinds=[Kind.COPY, Kind.CHECK, Kind.RANGE], limited=True), CHANCE)
def test_what_lost_ranks_were_granted_does_not_count_against_the_rate_for_ever(
    setting: tuple[Cluster, list[Batch]], chance: Random
) -> None:
    cluster, batches = setting
    strike(cluster, chance, spare=chance.choice(cluster.ranks).number)
    for second in range(PATIENCE):
        cluster.tick(float(second))
        play(cluster, chance)
        if cluster.ended:
            break
    assert cluster.ended
    assert missing(cluster, batches) == []
    bucket = cluster.planner._limiter
    assert bucket is not None
    assert abs(bucket._bytes.out) < 1e-6 and abs(bucket._files.out) < 1e-6


def left_over(cluster: Cluster) -> list[bytes]:
    """Empty the backlog; return its units."""
    names: list[bytes] = []
    while cluster.backlog:
        names += [unit.name for batch in cluster.backlog.cut(1000.0).batches for unit in batch.units]
    return names


@MANY
@given(clusters(), CHANCE)
def test_after_a_drain_each_unit_is_done_or_back(setting: tuple[Cluster, list[Batch]], chance: Random) -> None:
    cluster, batches = setting
    play(cluster, chance, chance.randint(0, 150))
    came = len(cluster.arrivals)
    cluster.drain()
    play(cluster, chance)
    assert cluster.planner.drained
    assert not any(rank.running or rank.machine.unstarted for rank in cluster.ranks)
    assert len(cluster.arrivals) == came
    waiting = {unit.name for some in cluster.arrivals for batch in some for unit in batch.units}
    arrived = [unit.name for batch in batches for unit in batch.units if unit.name not in waiting]
    known = cluster.told() + Counter(left_over(cluster))
    assert {name: known[name] for name in arrived if known[name] != 1} == {}
    assert max(known.values(), default=1) == 1, "what was found is not there twice"


@MANY
@given(clusters(), CHANCE)
def test_ranks_that_are_lost_while_it_drains_do_not_keep_it(
    setting: tuple[Cluster, list[Batch]], chance: Random
) -> None:
    cluster, batches = setting
    play(cluster, chance, chance.randint(0, 150))
    if chance.random() < 0.5:
        cluster.lose(chance.choice(cluster.ranks).number)
    cluster.drain()
    strike(cluster, chance, spare=chance.choice(cluster.ranks).number)
    play(cluster, chance)
    assert cluster.planner.drained
    waiting = {unit.name for some in cluster.arrivals for batch in some for unit in batch.units}
    arrived = [batch for batch in batches if batch.units.names[0] not in waiting]
    left = left_over(cluster)
    assert missing(cluster, arrived, frozenset(left)) == []
    known = Counter(cluster.planner.news) + Counter(name for name in left if name in exact(batches))
    assert {name: known[name] for name in exact(arrived) if known[name] != 1} == {}

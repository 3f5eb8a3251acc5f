"""What is under way counts once: outcomes and what ranks say of the rest are never more than what was done."""

from __future__ import annotations

from random import Random

from hypothesis import given

from hpcp_mpi.scheduling.messages import UnderWay
from hpcp_mpi.vocab.tally import NOTHING
from hpcp_mpi.vocab.units import Batch
from tests.scheduling.simulation import Action, Cluster, Rank
from tests.scheduling.test_any_interleaving import CHANCE, MANY, PATIENCE, Setting, clusters


def moved(rank: Rank) -> int:
    """The bytes that a rank has done of the bites it is at: half of each."""
    return sum(batch.amount for _, bite in rank.running for batch in bite) // 2


class Telling(Cluster):
    """A cluster whose ranks say now and then what is under way."""

    def tells(self) -> list[Action]:
        return [lambda rank=rank: self._tell(rank) for rank in self.ranks if not rank.dead]  # type: ignore[misc]

    def _tell(self, rank: Rank) -> None:
        rank.outbox.append(UnderWay(rank.machine.under_way(moved(rank))))

    def _report(self, rank: Rank) -> None:
        rank.stirred = False
        done = rank.machine.results(moved(rank))
        if done is not None:
            rank.outbox.append(done)

    @property
    def known(self) -> int:
        """The bytes that rank 0 shows as done."""
        return self.planner.outcome.copied.bytes + self.planner.under_way.bytes

    @property
    def done(self) -> int:
        """The bytes that are done."""
        return sum(sum(unit.amount for unit in rank.did) + moved(rank) for rank in self.ranks)


def telling(setting: Setting) -> tuple[Telling, list[list[Batch]]]:
    cluster, arrivals = setting
    cluster.__class__ = Telling
    assert isinstance(cluster, Telling)
    return cluster, arrivals


def happen(cluster: Telling, chance: Random) -> bool:
    actions = [*cluster.messages(), *cluster.scans(), *cluster.starts(), *cluster.ends()]
    if not actions:
        return False
    chance.choice(actions if chance.random() < 0.7 else [*actions, *cluster.tells()])()
    return True


@MANY
@given(clusters(), CHANCE)
def test_no_byte_counts_twice_and_all_do_at_the_end(setting: Setting, chance: Random) -> None:
    cluster, arrivals = telling(setting)
    for _ in range(PATIENCE):
        if not happen(cluster, chance):
            break
        assert cluster.known <= cluster.done
    assert cluster.ended and cluster.planner.under_way == NOTHING
    assert cluster.known == cluster.done == sum(batch.amount for some in arrivals for batch in some)


@MANY
@given(clusters(), CHANCE)
def test_when_all_that_was_said_has_come_rank_0_knows_all_that_is_done(setting: Setting, chance: Random) -> None:
    cluster, _ = telling(setting)
    for _ in range(chance.randrange(60)):
        happen(cluster, chance)
    cluster.settle(chance.randrange)
    for tell in cluster.tells():
        tell()
    cluster.settle(chance.randrange)
    assert cluster.known == cluster.done


@MANY
@given(clusters(), CHANCE)
def test_what_a_lost_rank_had_under_way_is_gone(setting: Setting, chance: Random) -> None:
    cluster, _ = telling(setting)
    for _ in range(chance.randrange(60)):
        happen(cluster, chance)
    number = chance.choice(cluster.ranks).number
    cluster.die(number)
    cluster.lose(number)
    cluster.settle(chance.randrange)  # also what it has said before
    reported = cluster.planner.outcome.copied.bytes
    others = sum(rank.machine.under_way(moved(rank)).bytes for rank in cluster.ranks if not rank.dead)
    for tell in cluster.tells():
        tell()
    cluster.settle(chance.randrange)
    assert cluster.known == reported + others

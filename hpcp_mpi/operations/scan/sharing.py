"""Rule: who lists. Rank 0 alone, until ranks run dry; then they list, too, until there is work for all of them again.

A walk through a small tree takes less than the messages that would share it, and at the beginning all ranks are idle:
so rank 0 lists alone at first. Ranks that run dry after that say that listing holds them up. Then they are asked to
list what rank 0 has not looked at, the directories found first, which are the biggest. From the start that is so where
it is known to be the work (-pfl, or if the destination holds something).

While directories are plenty, whoever lists one copies what is in it, and rank 0 learns the sums. While they are few,
what is found goes to rank 0 at once, as others wait for it. Pure: the time is an argument.
"""

from dataclasses import dataclass, field
from math import exp

from hpcp_mpi.engine.walk_feed import most_asked
from hpcp_mpi.scheduling.supply import Supply
from hpcp_mpi.vocab.units import Batch

ALONE_SECONDS = 0.8  # that rank 0 lists alone, at least: what takes no longer is dearer to share than to list
DRY = 0.15  # the part of the ranks that was idle lately from which on they run dry
LATELY = 0.2  # seconds; what was before counts e times less
ENOUGH_SECONDS = 4.0  # of work that wait for every slot: then listing holds up nobody
_AT_ONCE = 100  # directories per slot that others are asked to list; fewer, and slots wait for the next
_FEW = 64  # slots beside which it counts what rank 0 lists
_PLENTY = 2  # directories per slot that are known and not listed


@dataclass(slots=True)
class Sharing:
    """Which directories others are asked to list, and when.

    lists: directories for others to list; the last found go first, as in any walk
    asked: directories that others were asked to list and have not
    since: seconds after the beginning from which on others listed; None: they did not
    """

    always: bool  # they list from the start
    never: bool = False
    lists: list[Batch] = field(default_factory=list)
    asked: int = 0
    since: float | None = None
    supply: Supply = field(default_factory=Supply)
    _on: bool = False
    _began: float | None = None
    _looked: float = 0.0
    _dry: float = 0.0  # part of the ranks that was idle lately
    _waiting: int = 0  # directories in lists

    @property
    def unfinished(self) -> bool:
        """Whether others list, or are to list."""
        return bool(self.lists or self.asked)

    def look(self, now: float, supply: Supply) -> None:
        """Record what ranks have to do at this moment, in seconds of any clock."""
        before, self.supply = self.supply, supply
        if self._began is None:
            self._began = self._looked = now
        if self._looked - self._began >= ALONE_SECONDS:  # before, all ranks are idle, as in any run
            past = exp((self._looked - now) / LATELY)
            self._dry = self._dry * past + before.idle / max(1, before.ranks) * (1 - past)
        self._looked = now
        if self.always or self.never:
            self._on = self.always
        elif self._on:
            self._on = supply.seconds < ENOUGH_SECONDS
        else:
            # Alone with rank 0, a worker would only take turns with it.
            self._on = supply.ranks > 1 and self._dry >= DRY

    def wanted(self, waiting: int) -> int:
        """Return how many of the directories that wait for rank 0 others should list.

        All but one slot's share: rank 0 lists, too, but has a thousand ranks to serve where there are so many. It keeps
        one at least: who hands on the only one has won nothing.
        """
        slots = self.supply.slots
        if not self._on or self.always or self._waiting + self.asked >= slots:
            return 0
        return waiting - max(1, waiting // (slots + 1)) if waiting else 0

    def add(self, lists: list[Batch]) -> None:
        """Take directories that have to be listed."""
        self.lists += lists
        self._waiting += sum(len(batch.units) for batch in lists)

    def take(self) -> list[Batch]:
        """Return the directories that others are to list now, if they are to list."""
        taken: list[Batch] = []
        most = most_asked(self.supply.slots, _AT_ONCE)
        deep = self._waiting + self.asked >= _PLENTY * self.supply.slots
        while self.lists and self.asked < most and self._on:
            batch = self._pop(most - self.asked)
            self.asked += len(batch.units)
            taken.append(batch.deeper() if deep and not batch.deep else batch)
        if taken and self.since is None:
            self.since = 0.0 if self.always else self._looked - (self._began or 0.0)
        return taken

    def back(self) -> list[Batch]:
        """Return directories that rank 0 lists itself when nothing waits for it.

        All, where others have enough to do; and one where these are few, so that it counts.
        """
        if not self.lists or self.always or (self._on and self.supply.slots > _FEW):
            return []
        return [self._pop(1 if self._on else _AT_ONCE)]

    def _pop(self, most: int) -> Batch:
        batch = self.lists.pop()
        if len(batch.units) > most:
            rest, batch = batch.split(len(batch.units) - most)
            self.lists.append(rest)
        self._waiting -= len(batch.units)
        return batch

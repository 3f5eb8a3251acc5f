"""A tree of 10^8 files whose directories rank 0 and the other ranks list: is anybody idle?

The real planner, queues and rule of sharing; the tree, the clock and the storage are made up. Rank 0 is one processor
that serves messages first and lists when there is none. What a rank does with a directory is what
`operations/scan/worker.py` does, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hpcp_mpi.operations.scan.records import ScanFindings
from hpcp_mpi.operations.scan.sharing import Sharing
from hpcp_mpi.scheduling.messages import Grant, Message, Progress
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.tally import NOTHING, Tally
from hpcp_mpi.vocab.units import Batch, Kind, Unit, Units
from tests.simulate.engine import BITE_WEIGHT, FILE_COST, FULL, LATENCY, SERVICE, START, Simulation, _Rank
from tests.simulate.scenarios import CHUNK_SECONDS, Scenario, slots_for

FILES = 100  # in each lowest directory
SIZE = 4096  # bytes of each
COPY = 0.0005  # seconds of a slot for a file: 4,000 files/s of a rank with two slots
LIST = 0.00001  # seconds for an entry; rank 0 lists 90,000 a second
OPEN = 0.00008  # seconds for a directory
UNIT = 2e-6  # seconds of rank 0 for a unit in a message
LEAF = Tally(FILES, 1, 0, 0, FILES * SIZE)
LIST_WEIGHT = 64 * FILE_COST
TURNS = 0.005  # seconds between two looks of rank 0's loop, at most
SHORT, EACH, DEEP, BITE = 0.1, 0.01, 0.25, 0.5  # as in operations/scan/worker.py


@dataclass(frozen=True)
class Tree:
    """Directories in directories, so many at each level; files are in the lowest ones."""

    levels: tuple[int, ...] = (100, 100, 100)

    @property
    def directories(self) -> int:
        below = 1
        for count in reversed(self.levels):
            below = 1 + count * below
        return below

    @property
    def files(self) -> int:
        leaves = 1
        for count in self.levels:
            leaves *= count
        return leaves * FILES

    def children(self, path: bytes) -> list[bytes]:
        """Return the directories in a directory; none: it has files."""
        depth = path.count(b"/") + 1 if path else 0
        count = self.levels[depth] if depth < len(self.levels) else 0
        return [path + b"/%d" % number if path else b"%d" % number for number in range(count)]


@dataclass
class _Walked:
    """What a rank did with a LIST batch."""

    seconds: float = 0.0
    listed: int = 0  # directories
    copied: int = 0  # lowest directories
    found: dict[bytes, list[bytes]] = field(default_factory=dict)  # lowest directories for others, by where they are
    left: list[bytes] = field(default_factory=list)  # directories to list


@dataclass(frozen=True)
class Busy:
    """How busy the slots were. Seconds are simulated."""

    ranks: int
    files: int
    makespan: float
    ideal: float  # if no slot ever waits
    shared_since: float | None
    after_ten: float  # part of the slots' time from the tenth second to the end
    least: float  # the same of the worst second, but for the last ones, in which chunks end
    messages: int
    rank0: float  # part of its time that rank 0 served messages
    handed: int  # units that rank 0 granted

    def line(self) -> str:
        since = "-" if self.shared_since is None else f"{self.shared_since:.2f}"
        return (
            f"{self.ranks:6}{self.files:12,}{self.makespan:10.1f}{self.ideal:8.1f}{since:>8}"
            f"{100 * self.after_ten:9.1f}%{100 * self.least:9.1f}%"
            f"{self.messages:10,}{100 * self.rank0:8.1f}%{self.handed:11,}"
        )


BUSY_COLUMNS = (
    f"{'ranks':>6}{'files':>12}{'makespan':>10}{'ideal':>8}{'shared':>8}{'busy>10s':>10}{'least':>10}"
    f"{'messages':>10}{'rank 0':>9}{'units':>11}"
)


class ListingSimulation(Simulation):
    """Copying a tree that has to be listed. shares: others may be asked to list"""

    def __init__(self, ranks: int, tree: Tree, shares: bool = True, slots: int | None = None) -> None:
        scenario = Scenario("listing", ranks, slots or slots_for(ranks), lambda wanted: iter(()))
        super().__init__(scenario)
        self._tree = tree
        self._sharing = Sharing(False, not shares)
        self._stack: list[bytes] = [b""]  # that wait for rank 0
        self._held_units: dict[bytes, list[bytes]] = {}  # found by rank 0, by the directory they are in
        self._enough = 1
        self._free_at = 0.0  # when rank 0 has time
        self._served = 0.0
        self._handed = 0
        self._copied = 0
        self._listed = 0
        self._spans: list[tuple[float, float]] = []
        self._walks: dict[int, list[_Walked]] = {}

    def busy(self) -> Busy:
        """Do everything; return how busy ranks were."""
        result = self.run()
        assert self._copied * FILES == self._tree.files, "not every file was copied once"
        assert self._listed == self._tree.directories, "not every directory was listed once"
        slots, end = result.ranks * result.slots, result.makespan
        seconds = [0.0] * (int(end) + 2)
        for begin, until in self._spans:
            at = begin
            while at < until:
                second = int(at)
                step = min(until, second + 1.0)
                seconds[second] += step - at
                at = step
        whole = [each / slots for each in seconds[10 : int(end - 2 * CHUNK_SECONDS)]]
        work = self._tree.files * (COPY + LIST) + self._tree.directories * (OPEN + LIST)
        return Busy(
            result.ranks,
            self._tree.files,
            end,
            work / slots,
            self._sharing.since,
            sum(seconds[10:]) / (slots * (end - 10)) if end > 10 else 0.0,
            min(whole) if whole else 0.0,
            result.messages,
            self._served / end,
            self._handed,
        )

    # --- rank 0

    @property
    def _left(self) -> bool:
        return bool(self._stack or self._held_units or self._sharing.lists or self._sharing.asked)

    def _take_feed(self) -> None:
        """Take a turn of the loop: look who is idle, share, and list until a message comes."""
        self._held = self._backlog.memory > (FULL // 2 if self._held else FULL)
        sharing = self._sharing
        sharing.look(self._now, self._planner.supply)
        count = sharing.wanted(len(self._stack))
        if count:
            self._share(self._stack[:count])
            del self._stack[:count]
        elif sharing.lists and not self._stack:
            for batch in sharing.back():
                self._stack += reversed(batch.units.names)
        spent = self._list_here() if not self._inbox and not self._held else 0.0
        if not self._held:
            self._add(sharing.take())
        self._feeding = self._left
        if self._feeding:
            self._free_at = max(self._free_at, self._now + spent)
            self._at(max(spent, 0.0002 if self._stack else TURNS), self._take_feed)

    def _list_here(self) -> float:
        """List some directories; return the seconds that this takes."""
        spent = 0.0
        while self._stack and spent < 0.001:
            path = self._stack.pop()
            found = self._tree.children(path)
            self._listed += 1
            spent += OPEN + LIST * (len(found) or FILES)
            self._stack += reversed(found)
            if not found:
                units = self._held_units.setdefault(path.rpartition(b"/")[0], [])
                units.append(path)
                if len(units) >= self._enough:
                    self._enough = min(18, 2 * self._enough)
                    self._emit()
        if not self._stack:
            self._emit()
        return spent

    def _emit(self) -> None:
        found, self._held_units = self._held_units, {}
        self._add(copies(found))

    def _share(self, paths: list[bytes]) -> None:
        self._emit()  # hand_over opens what they are in
        self._sharing.add([to_list(paths)])

    def _add(self, batches: list[Batch]) -> None:
        if batches:
            self._handed += sum(len(batch.units) for batch in batches)
            self._work += 1
            self._planner.add(batches)
            self._post()

    def _serve(self) -> None:
        if self._now < self._free_at:
            self._serving = True
            self._at(self._free_at - self._now, self._serve)
            return
        self._serving = bool(self._inbox)
        if not self._inbox:
            return
        number, message = self._inbox.popleft()
        self._messages += 1
        self._planner.receive(number, message)
        news, self._planner.news = self._planner.news, []
        for found in news:
            self._sharing.asked -= found.done
            self._sharing.add(found.lists)
        seconds = SERVICE + UNIT * units_in(message)
        if not self._held:
            self._sharing.look(self._now, self._planner.supply)
            self._add(self._sharing.take())
        seconds += UNIT * sum(units_in(message) for _, message in self._planner.outbox)
        seconds += SERVICE / 2 * len(self._planner.outbox)
        self._post()
        self._served += seconds
        self._free_at = self._now + seconds
        self._at(seconds, self._serve)

    # --- other ranks

    def _go_on(self, rank: _Rank) -> None:
        while rank.idle:
            bite = rank.queue.take()
            if bite is None:
                break
            number, batches = bite
            outcome = Outcome()
            seconds = 0.0
            for batch in batches:
                if batch.kind is Kind.LIST:
                    seconds = self._walk(batch, outcome, seconds)
                else:
                    self._copied += len(batch.units)
                    seconds += START + len(batch.units) * FILES * COPY
            outcome.seconds = seconds
            self._spans.append((self._now, self._now + seconds))
            self._at(seconds, self._end_bite, rank, rank.idle.pop(), number, batches, outcome)
        done = rank.queue.results()
        if done is not None:
            self._at(LATENCY, self._arrive, rank.number, done)

    def _end_bite(self, rank: _Rank, slot: int, number: int, batches: list[Batch], outcome: Outcome) -> None:
        rank.last[slot] = self._now
        rank.idle.append(slot)
        rank.queue.finish(number, outcome, batches)
        self._go_on(rank)

    def _walk(self, batch: Batch, outcome: Outcome, before: float) -> float:
        """Do what a rank does with directories to list; return the seconds of the bite. before: those spent on it"""
        walked = _Walked(before, left=list(reversed(batch.units.names)))
        limit = DEEP * CHUNK_SECONDS if batch.deep else min(SHORT, EACH * len(batch.units))
        own = 0
        while walked.left and (not walked.listed or walked.seconds <= limit):
            path = walked.left.pop()
            found = self._tree.children(path)
            walked.listed += 1
            walked.seconds += OPEN + LIST * (len(found) or FILES)
            walked.left += reversed(found)
            if found:
                continue
            if batch.deep:
                own += 1
                if own * (LEAF.entries * FILE_COST + LEAF.bytes) >= BITE * BITE_WEIGHT:
                    self._copy_own(walked, own)
                    own = 0
            else:
                walked.found.setdefault(path.rpartition(b"/")[0], []).append(path)
        self._copy_own(walked, own)
        self._listed += walked.listed
        self._copied += walked.copied
        outcome.copied = outcome.copied.plus(Tally(walked.copied * FILES, walked.copied))
        outcome.new_work += copies(walked.found)
        lists = [to_list(walked.left)] if walked.left else []
        outcome.findings.append(ScanFindings(done=len(batch.units), lists=lists))
        return walked.seconds

    def _copy_own(self, walked: _Walked, directories: int) -> None:
        if directories:
            walked.copied += directories
            walked.seconds += START + directories * FILES * COPY


def to_list(paths: Iterable[bytes]) -> Batch:
    units = Units.of(Unit(path, NOTHING, LIST_WEIGHT, path) for path in paths)
    return Batch(Kind.LIST, 0, b"", b"", units, new=True)


def copies(found: dict[bytes, list[bytes]]) -> list[Batch]:
    """Return the copying of lowest directories, by where they are."""
    return [
        Batch(Kind.COPY, 0, where, where, Units.of(Unit(path, LEAF, LEAF.bytes) for path in paths))
        for where, paths in found.items()
    ]


def units_in(message: Message) -> int:
    """Return how many units travel with a message."""
    if isinstance(message, Grant):
        return sum(len(batch.units) for chunk in message.chunks for batch in chunk.batches)
    if isinstance(message, Progress):
        lists = sum(len(batch.units) for found in message.findings for batch in found.lists)
        return lists + sum(len(batch.units) for batch in message.new_work)
    return 0


def table(ranks: Iterable[int], show: Callable[[str], None], tree: Tree | None = None) -> list[Busy]:
    """Simulate the copying of a tree with so many ranks each; show a line of each."""
    show(BUSY_COLUMNS)
    found = []
    for count in ranks:
        found.append(ListingSimulation(count, tree or Tree()).busy())
        show(found[-1].line())
    return found

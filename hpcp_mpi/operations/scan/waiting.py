"""What a scan finds and waits for the end of the run, in files."""

from hpcp_mpi.host.external_sort import ExternalSort, RecordedSort
from hpcp_mpi.operations.scan.deferred import torn_apart
from hpcp_mpi.operations.scan.records import COUNTS, CREATED, DIFFERS, DeferredRecords, EqualNames
from hpcp_mpi.vocab.tally import NOTHING, Tally


class Waiting:
    """The deferred records of all ranks, sorted: they wait for the end of the run."""

    def __init__(self) -> None:
        self.settled = ExternalSort()
        self.linked = ExternalSort()
        self.shared = ExternalSort()
        self.extras = ExternalSort()
        self.tracked = ExternalSort()
        self.equal = ExternalSort()
        self.counted = NOTHING  # names to link and directories to settle that were added here, as found

    def add(self, deferred: DeferredRecords) -> None:
        """Move records here; none is left there."""
        if not deferred:
            return
        some = deferred.take()
        if some.linked:
            of = [0] * len(COUNTS)
            for record in some.linked:
                of[record.counts] += 1
            self.counted = self.counted.plus(Tally(of[1], 0, of[2], of[3], 0))
        self.counted = self.counted.plus(
            Tally(directories=sum(record.why in (DIFFERS, CREATED) for record in some.settled))
        )
        self.settled.add(some.settled)
        self.linked.add(some.linked)
        self.shared.add(some.shared)
        self.extras.add(some.extras)
        self.tracked.add(some.tracked)
        self.equal.add(some.equal)

    def tear_apart(self) -> Tally:
        """Have names linked, or separated, that seemed to be all those of one copy and are not known to be.

        Return what of them was counted as identical, and is not yet. All are found; it may be called once.
        """
        names = 0
        for linked, shared in torn_apart(map(EqualNames._make, self.equal)):
            self.linked.add(linked)
            self.shared.add(shared)
            names += sum(record.counts for record in linked)
        return Tally(files=names)

    def record(self) -> dict[str, RecordedSort]:
        """Have all that is added from now on recorded for a ledger. Nothing was added yet.

        Return the records by the names of the fields of DeferredRecords.
        """
        recorded = {
            "settled": (settled := RecordedSort()),
            "linked": (linked := RecordedSort()),
            "shared": (shared := RecordedSort()),
            "extras": (extras := RecordedSort()),
            "tracked": (tracked := RecordedSort()),
        }
        self.settled, self.linked, self.shared, self.extras, self.tracked = settled, linked, shared, extras, tracked
        return recorded

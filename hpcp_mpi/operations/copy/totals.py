"""The totals of all runs of a ledger: each entry is counted once, as found and as what became of it. Pure.

A resumed run looks again at directories in which something was left, and at all that waits for the end. What the run
before had done of that is identical now, or is done once more. It is not known how much that is, but what was *left*
is: so of all that is looked at again, as much is counted as done as was left, and nothing as found.
"""

from collections.abc import Mapping

from hpcp_mpi.operations.scan.records import ScanNumbers
from hpcp_mpi.vocab.checkpoint import AGAIN
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.report import Report
from hpcp_mpi.vocab.tally import NOTHING, Tally, left_of


class Totals:
    """The totals of a copy and of the runs that it resumes."""

    def __init__(self, before: Mapping[str, Tally]) -> None:
        """before: the tallies in the ledger; empty: nothing is resumed"""
        found, again, *done = (before.get(name, NOTHING) for name in ("found", AGAIN, "copied", "updated", "identical"))
        self._found = found.minus(again)
        self.copied, self._updated, self._identical = done
        self._left = self._found
        for each in done:
            self._left = self._left.minus(each)
        self._resumes = bool(before)
        self.repeated = NOTHING  # links and directories that were taken from the records, found by this run or before

    def found(self, scan: ScanNumbers) -> Tally:
        """Return what was found, by all runs."""
        return self._found.plus(scan.listed).minus(scan.listed_again)

    def identical(self, scan: ScanNumbers, outcome: Outcome) -> Tally:
        """Return what needed nothing, by all runs. outcome: this run's. Less than nothing: so much was done twice."""
        identical = self._identical.plus(scan.skipped).plus(outcome.skipped)
        if not self._resumes:
            return identical
        again = scan.listed_again.plus(Tally(directories=scan.tops)).plus(left_of(self.repeated, scan.recorded))
        return identical.minus(again).plus(again.common(self._left))

    def own(self, scan: ScanNumbers, outcome: Outcome) -> dict[str, Tally]:
        """Return the tallies of this run that make the totals if those of the ledger are added."""
        found, identical = self._both(scan, outcome)
        return {
            "found": found.minus(self._found),
            "identical": identical.minus(self._identical),
            AGAIN: scan.again,
        }

    def _both(self, scan: ScanNumbers, outcome: Outcome) -> tuple[Tally, Tally]:
        """Return what was found, and of it what needed nothing."""
        found, identical = self.found(scan), self.identical(scan, outcome)
        left = found.minus(identical)
        for each in (self.copied, self._updated, outcome.copied, outcome.updated):
            left = left.minus(each)
        if self._resumes and left.files == 0 < left.bytes:
            # Of the names of a file the first one that is seen has its bytes: not the same one in each run.
            found = found._replace(bytes=found.bytes - left.bytes)
        return found, identical

    def fill(self, report: Report, scan: ScanNumbers) -> None:
        """Put the totals into a report, whose outcome is this run's."""
        outcome = report.outcome
        report.scanned, outcome.skipped = self._both(scan, outcome)
        report.before, outcome.updated = self.copied, outcome.updated.plus(self._updated)
        outcome.skipped, outcome.updated, report.before, outcome.copied = _settled(
            outcome.skipped, outcome.updated, report.before, outcome.copied
        )


def _settled(*done: Tally) -> list[Tally]:
    """Return tallies with the same sum, and none less than nothing: what the first ones lack is taken from the next."""
    settled, lacking = [], NOTHING
    for each in done:
        rest = each.plus(lacking)
        settled.append(left_of(rest))
        lacking = rest.common(NOTHING)
    return settled

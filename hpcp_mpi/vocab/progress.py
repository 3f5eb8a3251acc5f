"""The progress of a run at one moment: for displays, `--progress json`, and the callback of the Python API."""

from dataclasses import dataclass
from typing import Any, NamedTuple


class InRanges(NamedTuple):
    """What outcomes do not say of files that are copied in ranges, in bytes."""

    copied: int = 0  # of ranges of files that are not finished
    before: int = 0  # of ranges that an earlier run copied
    holes: int = 0  # of files that were begun: found, and never copied
    passed: int = 0  # of them: of files that are finished, so that outcomes count them


NONE_IN_RANGES = InRanges()


@dataclass(frozen=True, slots=True, repr=False)
class Progress:
    """The progress of a run. Counts are of its phase; `bytes` includes what is written of files under way."""

    phase: str  # copying, linking, verifying, removing, counting, listing, comparing, ...
    seconds: float = 0.0  # since the run began
    entries: int = 0  # done: copied, identical, failed; removed; listed; read again
    entries_total: int = 0  # found so far
    bytes: int = 0  # of these entries; 0 in phases that move no content
    bytes_total: int = 0
    total_known: bool = False  # the totals are final: nothing more will be found
    files: int = 0  # that were copied (removed, read again)
    bytes_moved: int = 0  # that were copied or read again, without what was identical
    entries_per_second: float = 0.0  # of the last seconds (engine.progress_meter.WINDOW)
    files_per_second: float = 0.0
    bytes_per_second: float = 0.0
    average_entries: float = 0.0  # a second, since the phase began
    average_files: float = 0.0
    average_bytes: float = 0.0
    remaining: float | None = None  # seconds to the end of the phase; None: not known
    identical: int = 0  # entries
    failed: int = 0  # entries
    active: int = 0  # ranks that have work
    ranks: int = 0  # that work

    def __repr__(self) -> str:
        """Return the amounts: `<Progress copying: 120 of 3,000 entries, 1.20 GiB of 4.00 GiB, 30 %>`."""
        from hpcp_mpi.vocab.amounts import size  # only rank 0 shows one

        known = "" if self.total_known else " found so far"
        parts = [f"{self.entries:,} of {self.entries_total:,} entries{known}"]
        parts += [f"{size(self.bytes)} of {size(self.bytes_total)}"] if self.bytes_total else []
        parts += [f"{100 * self.fraction:.0f} %"] if self.fraction is not None else []
        parts += [f"{self.failed:,} failed"] if self.failed else []
        return f"<Progress {self.phase}: {', '.join(parts)}>"

    @property
    def fraction(self) -> float | None:
        """What is done, from 0 to 1, by bytes where there are any; None while the totals are not known."""
        if not self.total_known:
            return None
        done, total = (self.bytes, self.bytes_total) if self.bytes_total else (self.entries, self.entries_total)
        return min(1.0, done / total) if total else None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them, times and rates rounded."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in plain.items()}

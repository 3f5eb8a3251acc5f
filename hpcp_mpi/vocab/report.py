"""The report of a run, and each rank's share of it."""

import errno
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcp_mpi.vocab.abilities import Abilities
from hpcp_mpi.vocab.checkpoint import Sample
from hpcp_mpi.vocab.errors import (
    EXIT_CODES,
    EXIT_DIFFERENT,
    EXIT_MAX_DELETE,
    EXIT_OK,
    EXIT_PARTIAL,
    EXIT_UNSHOWN,
    EXIT_VANISHED,
    Failure,
    FatalError,
)
from hpcp_mpi.vocab.options import Options
from hpcp_mpi.vocab.origin import Origin, iso
from hpcp_mpi.vocab.outcome import Outcome
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.tally import NOTHING, Tally, left_of, total_of


@dataclass(slots=True)
class RankShare:
    """One rank's share of a run."""

    rank: int
    node: str
    slots: int
    copied: Tally = NOTHING
    chunks: int = 0
    stolen: int = 0  # chunks that were first granted to another rank
    seconds: float = 0.0  # that its slots were busy
    lost: str = ""  # why it is taken for lost, if it is

    def as_dict(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "node": self.node,
            "slots": self.slots,
            "copied": self.copied.as_dict(),
            "chunks": self.chunks,
            "stolen_chunks": self.stolen,
            "busy_seconds": round(self.seconds, 3),
            "lost": self.lost or None,
        }

    def add(self, other: "RankShare") -> None:
        """Add what the same rank did in another run."""
        self.slots = max(self.slots, other.slots)
        self.lost = self.lost or other.lost
        self.copied = self.copied.plus(other.copied)
        self.chunks += other.chunks
        self.stolen += other.stolen
        self.seconds += other.seconds


@dataclass(slots=True)
class ImageResult:
    """What became of one image or disk, or what would of a dry run."""

    path: bytes  # as given
    what: str  # read, made, updated, cloned
    size: int = 0  # bytes of the file or device
    allocated: int | None = None  # bytes that the file takes where it lies; None: a device
    file_system: str = ""  # or the kind of its partition table: gpt, dos
    label: str = ""
    uuid: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": printable(self.path),
            "what": self.what,
            "bytes": self.size,
            "allocated": self.allocated,
            "file_system": self.file_system,
            "label": _shown(self.label),
            "uuid": self.uuid,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class PartitionResult:
    """What became of one partition, or what would of a dry run. Places and sizes are bytes; None: there is none."""

    image: bytes  # the image or disk that it was read from, as given
    number: int
    name: str = ""
    content: str = ""  # ext4, swap, crypto_LUKS, ...; "": unknown
    treatment: str = ""  # files, swap, raw, read, left out
    start_before: int | None = None
    start: int | None = None  # in the clone
    size_before: int | None = None
    size: int | None = None
    entries: int = 0  # that were copied
    copied: int = 0  # bytes
    failed: int = 0  # entries or blocks
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__slots__}
        shown = {"image": printable(self.image), "name": _shown(self.name), "seconds": round(self.seconds, 3)}
        return {**plain, **shown}


_MISSING = os.strerror(errno.ENOENT)


def _files(tally: Tally) -> str:
    return f"{tally.files:,} file" + "s" * (tally.files != 1)


def _shown(label: str) -> str:
    """Return a label or a name of a table, which may be any bytes, as names are shown."""
    return printable(label.encode("utf-8", "surrogateescape"))


@dataclass(slots=True, repr=False)
class Report:
    """The report of a run, for people and machines.

    exit_code: 0 where all was done. failures: what was not, each with its reason. outcome: what was counted.
    as_dict(): all of it as JSON can hold it
    """

    verb: str = "copy"  # Verb's value
    sources: list[bytes] = field(default_factory=list)
    destination: bytes = b""
    destinations: list[bytes] = field(default_factory=list)  # all of them, where there are several
    dry_run: bool = False
    options: Options = field(default_factory=Options)  # that it was done with
    mirror: bool = False  # removes what the sources do not have
    move: bool = False  # removes what was copied from the sources
    scanned: Tally = NOTHING  # what the sources hold, without what is excluded
    outcome: Outcome = field(default_factory=Outcome)
    ranks: list[RankShare] = field(default_factory=list)
    chunks: int = 0
    steals: int = 0  # times that a rank gave work back
    messages: int = 0
    timeline: list[Sample] = field(default_factory=list)
    started: float = field(default_factory=time.time)  # seconds since 1970-01-01 UTC
    scan_seconds: float = 0.0
    listed_by_all: float | None = None  # seconds after the beginning from which on all ranks listed; None: rank 0 alone
    seconds: float = 0.0
    stopped: int = EXIT_OK  # the exit code of an early stop
    broken_off: bool = False  # rank 0 could not continue, as a failure says: what was to follow was not done
    before: Tally = NOTHING  # what earlier runs copied that this one resumed
    unmatched: frozenset[bytes] | None = None  # exclude patterns that matched nothing; None: not known
    unshown: str = ""  # why a list for standard output is lost
    declined: bool = False  # the answer to a question was no, so something was not removed
    differences: dict[str, int] | None = None  # of a compare: how many entries are added, modified, deleted
    paths: dict[str, list[bytes]] | None = None  # theirs, below the destination; None if they are very many
    abilities: dict[bytes, Abilities] = field(default_factory=dict)  # of the file system of each destination
    images: list[ImageResult] = field(default_factory=list)
    partitions: list[PartitionResult] = field(default_factory=list)  # of a clone, or of partitioned sources
    origin: Origin = field(default_factory=Origin)  # which command, where
    ended: float | None = None  # seconds since 1970-01-01 UTC; None: as `started` and `seconds` say
    processes: int = 0  # ranks, with the one that coordinates; 1: it does the work, too. 0: not known
    # A directory and its counterpart at the destination, if all that was to be copied lies below it, and lands there
    # under the same name: a list can name what failed. Both absolute.
    counterparts: tuple[bytes, bytes] | None = None
    error: FatalError | None = None  # that ended the run
    failed_file: bytes | None = None  # where the names of all that failed are
    retry: tuple[str, ...] = ()  # the command that does what failed
    resume: tuple[str, ...] = ()  # the command that goes on where this one was stopped

    def __repr__(self) -> str:
        """Return what was done in a line: `<Report copy: 62,321 files, 3.80 GiB copied, 2 failed, exit code 23>`."""
        from hpcp_mpi.vocab.amounts import size  # only rank 0 shows one

        verb = "mirror" if self.mirror else "move" if self.move else self.verb
        verb += " (dry run)" if self.dry_run and verb != "compare" else ""
        done, removed = self.outcome.copied, self.outcome.removed
        if self.verb == "list":
            parts = [f"{_files(self.scanned)} listed"]
        elif self.verb == "compare":
            parts = [f"{count:,} {name}" for name, count in (self.differences or {}).items()]
        else:
            parts = [] if self.verb == "remove" else [f"{_files(done)}, {size(done.bytes)} copied"]
            parts += [f"{removed.entries:,} removed"] if removed or self.verb == "remove" else []
        parts += [f"{len(self.failures):,} failed"] if self.failures else []
        return f"<Report {verb}: {', '.join([*parts, f'exit code {self.exit_code}'])}>"

    @property
    def ended_early(self) -> bool:
        """Return whether a signal ended the run, and not all was done."""
        return self.stopped not in (EXIT_OK, EXIT_MAX_DELETE)

    @property
    def failures(self) -> list[Failure]:
        return self.outcome.failures

    def add(self, other: "Report") -> None:
        """Add a later run of the same command. What failed or was noted before is not repeated."""
        known, noted = {failure.path for failure in self.failures}, set(self.outcome.notes)
        other.outcome.failures = [failure for failure in other.failures if failure.path not in known]
        other.outcome.notes = [note for note in other.outcome.notes if note not in noted]
        self.outcome.add(other.outcome)
        self.scanned = self.scanned.plus(other.scanned)
        self.abilities = {**other.abilities, **self.abilities}
        shares = {share.rank: share for share in self.ranks}
        for share in other.ranks:
            if share.rank in shares:
                shares[share.rank].add(share)
            else:
                self.ranks.append(share)
        self.chunks += other.chunks
        self.steals += other.steals
        self.messages += other.messages
        self.timeline += [each._replace(seconds=self.seconds + each.seconds) for each in other.timeline]
        self.images += other.images
        self.partitions += other.partitions
        self.scan_seconds += other.scan_seconds
        if self.listed_by_all is None:
            self.listed_by_all = other.listed_by_all
        self.seconds += other.seconds
        if other.unmatched is not None:
            self.unmatched = other.unmatched if self.unmatched is None else self.unmatched & other.unmatched
        if other.stopped and not self.ended_early:
            self.stopped = other.stopped

    def count_once(self) -> None:
        """Take off what was counted twice: a rank that was lost had done it, and another one did it again."""
        if not self._adds_up or not any(share.lost for share in self.ranks):
            return
        outcome, twice = self.outcome, left_of(self._done, self.scanned)
        for name in ("skipped", "updated", "copied"):
            off = twice.common(getattr(outcome, name))
            setattr(outcome, name, getattr(outcome, name).minus(off))
            twice = twice.minus(off)

    @property
    def different(self) -> Tally:
        """What a compare found to differ from what it is compared with."""
        return self.outcome.copied.plus(self.outcome.updated) if self.verb == "compare" else NOTHING

    @property
    def _done(self) -> Tally:
        outcome = self.outcome
        done = total_of((self.before, outcome.copied, outcome.updated, outcome.skipped))
        return done.plus(outcome.removed) if self.verb == "remove" else done

    @property
    def found(self) -> Tally:
        """What the sources hold: all that was done, failed, and is left. What grew meanwhile is as big as its copy."""
        return Tally(*map(max, self.scanned, self._done)) if self._adds_up else self.scanned

    @property
    def undone(self) -> Tally:
        """What was found and is neither copied nor identical: it failed, or the run ended before."""
        return left_of(self.scanned, self._done) if self._adds_up else NOTHING

    @property
    def failed(self) -> Tally:
        """What was found, was tried, and failed: of a run that came to its end all that is not done."""
        return failed_of(self.undone, self.failures, not (self.ended_early or self.broken_off))

    @property
    def failed_entries(self) -> int:
        """How many entries failed: those with a reason, and those that only such ones kept from being done.

        A directory that cannot be listed was no entry that was found; one that cannot be removed for what is in it has
        no reason of its own.
        """
        return max(len(self.failures), self.failed.entries)

    @property
    def unfound(self) -> bool:
        """Whether all that was asked for was missing: the names of a list may be those of another place."""
        return (
            not self.scanned and bool(self.failures) and all(each.reason.endswith(_MISSING) for each in self.failures)
        )

    @property
    def left(self) -> Tally:
        """What was found, and not tried."""
        return self.undone.minus(self.failed)

    @property
    def _adds_up(self) -> bool:
        """Return whether it is counted what became of what was found. A list names it, a compare with one may not."""
        return self.verb != "list" and not (self.verb == "compare" and self.scanned and not self._done)

    @property
    def exit_code(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        if self.stopped:
            return self.stopped
        if not self.failures:
            done = EXIT_UNSHOWN if self.unshown else EXIT_OK
            return EXIT_DIFFERENT if self.differences and any(self.differences.values()) else done
        return EXIT_VANISHED if all(failure.vanished for failure in self.failures) else EXIT_PARTIAL

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it (docs/report.schema.json). Names are escaped as in file lists."""
        ended = self.started + self.seconds if self.ended is None else self.ended
        return {
            **self.origin.as_dict("report"),
            "started": iso(self.started),
            "started_seconds": round(self.started, 3),
            "ended": iso(ended),
            "ended_seconds": round(ended, 3),
            "seconds": round(self.seconds, 3),
            "scan_seconds": round(self.scan_seconds, 3),
            "listed_by_all": None if self.listed_by_all is None else round(self.listed_by_all, 3),
            "verb": self.verb,
            "dry_run": self.dry_run,
            "mirror": self.mirror,
            "move": self.move,
            "sources": [printable(path) for path in self.sources],
            "destination": printable(self.destination),
            "destinations": [printable(path) for path in self.destinations or [self.destination] if path],
            "file_systems": {printable(path): abilities.as_dict() for path, abilities in self.abilities.items()},
            "exit_code": self.exit_code,
            "ending": EXIT_CODES.get(self.exit_code, "unknown"),
            "error": self.error and {"message": self.error.message, "remedy": self.error.remedy or None},
            "ended_early": self.ended_early,
            "declined": self.declined,
            **self._amounts(),
            "hard_links": self.outcome.linked,
            "differences": self.differences,
            "paths": self.paths and {name: [printable(path) for path in paths] for name, paths in self.paths.items()},
            "images": [image.as_dict() for image in self.images],
            "partitions": [partition.as_dict() for partition in self.partitions],
            **failures_as_dict(self.failures, self.outcome.notes),
            "failed_file": self.failed_file and printable(self.failed_file),
            "retry": [printable(os.fsencode(word)) for word in self.retry] or None,
            "resume": [printable(os.fsencode(word)) for word in self.resume] or None,
            "processes": self.processes or None,
            "ranks": [share.as_dict() for share in self.ranks],
            "chunks": self.chunks,
            "steals": self.steals,
            "messages": self.messages,
            "timeline": [each._asdict() for each in self.timeline],
        }

    def _amounts(self) -> dict[str, Any]:
        """Return the columns of the end table, by the names of its rows."""
        outcome, compares = self.outcome, self.verb == "compare"
        amounts = {
            "found": self.found,
            "copied_before": self.before,
            "copied": NOTHING if compares else outcome.copied,
            "metadata_only": NOTHING if compares else outcome.updated,
            "different": self.different,
            "identical": NOTHING if self.verb == "remove" else outcome.skipped,
            "kept": outcome.skipped if self.verb == "remove" else NOTHING,
            "failed": self.failed,
            "left": self.left,
            "removed": outcome.removed,
            "verified": outcome.verified,
        }
        return {name: amount.as_dict() for name, amount in amounts.items()}


def failed_of(undone: Tally, failures: Iterable[Failure], complete: bool) -> Tally:
    """Return what failed of what is not done. complete: all was tried, so that nothing else is left"""
    if complete:
        return undone if any(True for _ in failures) else NOTHING
    return total_of(failure.attempted for failure in failures).common(undone)


def failures_as_dict(failures: Sequence[Failure], notes: Sequence[tuple[bytes, str]]) -> dict[str, Any]:
    """Return failures and notes as JSON can hold them."""
    return {
        "failure_count": len(failures),
        "failures": [
            {"path": printable(each.path), "reason": each.reason, "vanished": each.vanished} for each in failures
        ],
        "notes": [{"path": printable(path), "note": note} for path, note in notes],
    }

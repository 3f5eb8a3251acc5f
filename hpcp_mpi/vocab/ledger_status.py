"""The status of the runs in a ledger, for people and machines."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpcp_mpi.vocab.checkpoint import UNDER_WAY, Checkpoint, RankState, Sample
from hpcp_mpi.vocab.errors import EXIT_INTERRUPTED, EXIT_RESUMABLE
from hpcp_mpi.vocab.origin import TOOL, Origin, iso
from hpcp_mpi.vocab.paths import printable
from hpcp_mpi.vocab.report import failed_of, failures_as_dict
from hpcp_mpi.vocab.tally import NOTHING, Tally, left_of

# The rows of the end table that a ledger knows.
AMOUNTS = ("found", "copied", "metadata_only", "identical", "failed", "left", "removed", "verified")
SILENT = 60.0  # seconds without a sign of life, after which a run may be dead; it gives one every 20


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One of the runs that wrote the ledger."""

    number: int  # from 1
    host: str
    pid: int
    job: str
    version: str
    command: tuple[str, ...]
    started: float  # seconds since 1970-01-01 UTC, as all times here
    alive: float  # its last sign of life
    ended: float | None
    state: str  # running, ended, broken: as it said itself
    exit_code: int | None
    ranks: tuple[RankState, ...]  # at its last checkpoint

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": self.number,
            "version": self.version,
            "command": [printable(os.fsencode(word)) for word in self.command],
            "host": self.host,
            "pid": self.pid,
            "job": self.job or None,
            "started": iso(self.started),
            "started_seconds": self.started,
            "alive": iso(self.alive),
            "alive_seconds": self.alive,
            "ended": iso(self.ended),
            "ended_seconds": self.ended,
            "state": self.state,
            "exit_code": self.exit_code,
            "ranks": [asdict(rank) for rank in self.ranks],
        }


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """All that is shown of a ledger."""

    path: bytes  # absolute
    time: float  # when it was read
    verb: str
    sources: tuple[bytes, ...]
    destination: bytes
    started: float  # when the first run began
    runs: tuple[RunStatus, ...]  # one at least
    there: bool | None  # whether the last run's process was found; None where it cannot be seen from here
    checkpointed: float | None  # when the last checkpoint was made
    latest: Checkpoint | None  # with all failures and notes, without todo and records
    todo: tuple[int, int]  # directories to look at again: with all below, alone
    records: Mapping[str, tuple[int, int]]  # blocks and stored bytes, by what they are of
    samples: tuple[tuple[int, Sample], ...]  # (number of the run, sample), in order

    @property
    def last(self) -> RunStatus:
        return self.runs[-1]

    @property
    def condition(self) -> str:
        """Return the last run's state in a word: running, silent, killed, broken, stopped (resumable), ended."""
        last = self.last
        if last.state == "ended":
            return "stopped" if last.exit_code == EXIT_RESUMABLE else "ended"
        if last.state != "running":
            return "broken"
        if self.there is False:
            return "killed"
        return "silent" if self.silence > SILENT else "running"

    @property
    def silence(self) -> float:
        """Return seconds since the last sign of life."""
        return max(0.0, self.time - self.last.alive)

    @property
    def before(self) -> float:
        """Return seconds that the runs before the last one took."""
        return max((sample.seconds for run, sample in self.samples if run < self.last.number), default=0.0)

    @property
    def amounts(self) -> dict[str, Tally]:
        """Return the columns of the end table, by the names of its rows: what all runs did."""
        latest = self.latest
        tallies = {} if latest is None else dict(latest.tallies)
        undone = latest.left if latest is not None and self.verb == "copy" else NOTHING
        complete = self.condition == "ended" and self.last.exit_code != EXIT_INTERRUPTED
        failed = failed_of(undone, () if latest is None else latest.failures, complete)
        every = {**tallies, "metadata_only": tallies.get("updated", NOTHING), "failed": failed}
        every["left"] = undone.minus(failed)
        return {name: left_of(every.get(name, NOTHING)) for name in AMOUNTS}

    @property
    def under_way(self) -> Tally:
        """Return about how much is copied of files that are not: in no other amount, and not left."""
        return NOTHING if self.latest is None else self.latest.tallies.get(UNDER_WAY, NOTHING)

    def as_dict(self) -> dict[str, Any]:
        """Return the account as JSON can hold it (docs/report.schema.json). Names are escaped as in file lists."""
        last, latest = self.last, self.latest
        origin = Origin(last.version, last.command, last.host, job=last.job)
        return {
            **origin.as_dict("status"),
            "pid": last.pid,
            "ledger": printable(self.path),
            "time": iso(self.time),
            "time_seconds": self.time,
            "state": self.condition,
            "exit_code": last.exit_code,
            "silent_seconds": round(self.silence, 3),
            "started": iso(self.started),
            "started_seconds": self.started,
            "ended": iso(last.ended),
            "ended_seconds": last.ended,
            "checkpointed": iso(self.checkpointed),
            "checkpointed_seconds": self.checkpointed,
            "seconds": 0.0 if latest is None else round(latest.seconds, 3),
            "verb": self.verb,
            "sources": [printable(path) for path in self.sources],
            "destination": printable(self.destination),
            "phase": None if latest is None else latest.phase,
            "scan_complete": latest is not None and latest.scan_done,
            **{name: amount.as_dict() for name, amount in self.amounts.items()},
            "under_way_bytes": self.under_way.bytes,
            "hard_links": 0 if latest is None else latest.linked,
            **(failures_as_dict((), ()) if latest is None else failures_as_dict(latest.failures, latest.notes)),
            "resume": [printable(os.fsencode(word)) for word in self.resume] or None,
            "chunks": 0 if latest is None else latest.chunks,
            "steals": 0 if latest is None else latest.steals,
            "messages": 0 if latest is None else latest.messages,
            "todo": {"trees": self.todo[0], "directories": self.todo[1]},
            "records": {kind: {"blocks": count, "bytes": size} for kind, (count, size) in self.records.items()},
            "timeline": [{"run": run, **sample._asdict()} for run, sample in self.samples],
            "runs": [run.as_dict() for run in self.runs],
        }

    @property
    def resume(self) -> tuple[str, ...]:
        """Return the command that resumes the run; empty where that means nothing."""
        if self.condition in ("running", "ended") and self.last.exit_code != EXIT_INTERRUPTED:
            return ()
        return resuming(self.last.command or (TOOL,), self.path)


def resuming(command: Sequence[str], ledger: bytes) -> tuple[str, ...]:
    """Return the command that resumes one with a ledger: the added options come first, as there may be a `--`.

    ledger: its absolute path
    """
    program, *rest = command
    added = [] if "--resume" in rest else ["--resume"]
    if not any(word.partition("=")[0] == "--ledger" for word in rest):
        added += ["--ledger", os.fsdecode(ledger)]
    return program, *added, *rest
